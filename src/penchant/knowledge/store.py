"""A graph of triples in an embedded store with SPARQL (pyoxigraph), in memory or in a folder."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from penchant.errors import DataRejected, InputError, MissingExtra

__all__ = ["LABEL", "TYPE", "Graph", "name_of", "read_pairs"]

_BASE = "urn:penchant:"  # of names that are no IRIs
LABEL = "http://www.w3.org/2000/01/rdf-schema#label"
TYPE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
_FORMATS = {".nt": "N_TRIPLES", ".ttl": "TURTLE"}
_MOST_BROKEN = 0.01
_AT_ONCE = 50_000

Triple = tuple[str, str, str]


class Graph:
    """Triples of names. Names that are no IRIs are kept as such within, and come out as they went in.

    Args:
        folder: where the store is kept; None: in memory.

    Raises:
        MissingExtra: pyoxigraph is not installed.
        InputError: the folder holds something else, or another process has it open.
    """

    def __init__(self, folder: str | Path | None = None):
        try:
            import pyoxigraph
        except ImportError as error:
            raise MissingExtra("the knowledge graph", "annotation") from error
        self._library = pyoxigraph
        try:
            self.store = pyoxigraph.Store() if folder is None else pyoxigraph.Store(str(folder))
        except OSError as error:
            raise InputError(f"is no store ({error})", "give a folder of its own", file=folder) from error

    def __len__(self) -> int:
        return len(self.store)

    def load(self, path: str | Path) -> Counter[str]:
        """Add the triples of a file (.tsv: head, relation, tail; .nt; .ttl; each also .gz).

        Returns:
            `triples`, and how many lines were left out by cause.

        Raises:
            InputError: no such file, or of no such kind.
            DataRejected: over 1 % of its lines are broken (names the first); of Turtle, any.
        """
        path = Path(path)
        kind = Path(path.name.removesuffix(".gz")).suffix
        if not path.is_file():
            raise InputError("no such file", "give .tsv, .nt or .ttl", file=path)
        if kind == ".ttl":
            return self._turtle(path)
        if kind not in (".tsv", ".nt"):
            raise InputError(f"is no file of triples ({kind or 'no ending'})", "give .tsv, .nt or .ttl", file=path)
        counts: Counter[str] = Counter()
        first: tuple[int, str] | None = None
        ready: list[Any] = []
        for number, line in enumerate(_lines(path), 1):
            if not line.strip() or (kind == ".nt" and line.lstrip().startswith("#")):
                continue
            try:
                ready.append(self._line(line) if kind == ".nt" else self._quad(*_three(line)))
                counts["triples"] += 1
            except (ValueError, SyntaxError) as error:
                cause = str(error) if kind == ".tsv" else "broken line"
                counts[cause] += 1
                first = first or (number, cause)
            if len(ready) >= _AT_ONCE:
                self.store.bulk_extend(ready)
                ready = []
        broken = sum(counts.values()) - counts["triples"]
        if first is not None and broken > _MOST_BROKEN * sum(counts.values()):
            mend = "mend the line, or give head, relation and tail with tabs between"
            told = f"{first[1]}; {broken} of {sum(counts.values())} lines are broken"
            raise DataRejected(told, mend, file=path, row=first[0])
        self.store.bulk_extend(ready)
        return counts

    def add(self, triples: Iterable[Triple]) -> None:
        """Add triples; an object of `LABEL` is a text."""
        self.store.bulk_extend([self._quad(*triple) for triple in triples])

    def triples(
        self, head: str | None = None, relation: str | None = None, tail: str | None = None
    ) -> Iterator[Triple]:
        """Those that match; None matches any."""
        first, middle = (None if name is None else self._node(name) for name in (head, relation))
        last = None if tail is None else self._object(relation or "", tail)
        for quad in self.store.quads_for_pattern(first, middle, last, None):
            yield name_of(quad.subject), name_of(quad.predicate), name_of(quad.object)

    def __contains__(self, triple: Triple) -> bool:
        return next(self.triples(*triple), None) is not None

    def query(self, sparql: str) -> tuple[list[str], list[list[str | None]]]:
        """Variables and rows of a SELECT, or one row `answer` of an ASK.

        Raises:
            InputError: it is no such query.
        """
        try:
            found: Any = self.store.query(sparql)
        except (SyntaxError, ValueError) as error:
            raise InputError(
                f"SPARQL: {str(error).splitlines()[0]}", "see https://www.w3.org/TR/sparql11-query"
            ) from error
        if not hasattr(found, "variables"):
            return ["answer"], [[str(bool(found)).lower()]]
        names = [variable.value for variable in found.variables]
        return names, [[None if row[n] is None else name_of(row[n]) for n in names] for row in found]

    def iri(self, name: str) -> str:
        """A name as SPARQL writes it: <...>."""
        return f"<{_full(name)}>"

    def _turtle(self, path: Path) -> Counter[str]:
        before = len(self.store)
        opener: Any = gzip.open if path.name.endswith(".gz") else open
        with opener(path, "rb") as handle:
            try:
                self.store.load(handle, format=self._library.RdfFormat.TURTLE)
            except (SyntaxError, ValueError) as error:
                raise DataRejected(f"broken Turtle ({error})", "mend it", file=path) from error
        return Counter(triples=len(self.store) - before)

    def _line(self, line: str) -> Any:
        (quad,) = self._library.parse(line.encode(), format=self._library.RdfFormat.N_TRIPLES)
        return quad

    def _quad(self, head: str, relation: str, tail: str) -> Any:
        return self._library.Quad(self._node(head), self._node(relation), self._object(relation, tail))

    def _node(self, name: str) -> Any:
        return self._library.NamedNode(_full(name))

    def _object(self, relation: str, tail: str) -> Any:
        return self._library.Literal(tail) if relation == LABEL else self._node(tail)


def _full(name: str) -> str:
    return name if name.startswith(("http://", "https://", "urn:")) else _BASE + quote(name, safe="")


def name_of(node: Any) -> str:
    """A node's name as it was given; of a text the text."""
    value = str(node.value)
    return unquote(value.removeprefix(_BASE)) if value.startswith(_BASE) else value


def _lines(path: Path) -> Iterator[str]:
    opener: Any = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8", errors="replace") as handle:
        yield from handle


def _three(line: str) -> Triple:
    fields = [field.strip() for field in line.rstrip("\n").split("\t")]
    if len(fields) != 3:
        raise ValueError(f"{len(fields)} fields, not 3")
    if not all(fields):
        raise ValueError("empty field")
    return fields[0], fields[1], fields[2]


def read_pairs(path: str | Path) -> list[tuple[str, str]]:
    """(entity, name) of a TSV of two columns; an entity may have several lines.

    Raises:
        InputError: no such file, or a line of one column.
    """
    if not Path(path).is_file():
        raise InputError("no such file", "give a TSV of entity and name", file=path)
    found = []
    for number, line in enumerate(_lines(Path(path)), 1):
        entity, tab, name = line.rstrip("\n").partition("\t")
        if not tab or not name.strip():
            raise InputError("has no name", "write entity, a tab, its name", file=path, row=number)
        found.append((entity.strip(), name.strip()))
    return found
