"""A graph ready to judge texts: facts, names, phrases, kinds and constraints together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from penchant.knowledge.check import CONTRADICTED, SUPPORTED, UNKNOWN, Checker, Verdict
from penchant.knowledge.link import Linker
from penchant.knowledge.say import Claims, names_of, phrase
from penchant.knowledge.store import LABEL, TYPE, Graph, read_pairs

__all__ = ["Consistency", "Knowledge", "opened"]

Triple = tuple[str, str, str]


@dataclass(frozen=True)
class Consistency:
    """What a graph says of a text: its claims with their verdicts."""

    claims: tuple[tuple[Triple, Verdict], ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many claims are supported, contradicted, unknown."""
        found = Counter(verdict.what for _, verdict in self.claims)
        return {what: found[what] for what in (SUPPORTED, CONTRADICTED, UNKNOWN)}

    @property
    def score(self) -> float:
        """(supported - contradicted) / claims; 0 where there is none."""
        counts = self.counts
        return (counts[SUPPORTED] - counts[CONTRADICTED]) / max(1, len(self.claims))


@dataclass(frozen=True)
class Knowledge:
    """What judges texts.

    Attributes:
        facts: the graph's triples, names and kinds apart.
        names: entity -> its first name; labels: relation -> its phrase.
        left_out: broken lines by cause.
    """

    facts: tuple[Triple, ...]
    names: dict[str, str]
    labels: dict[str, str]
    linker: Linker
    checker: Checker
    claims: Claims
    left_out: dict[str, int]

    def consistency(self, text: str, language: str = "en") -> Consistency:
        """Every claim found in a text, and its verdict; of an ambiguous name the reading that fares best counts."""
        found = [(claim, self.checker(*claim)) for claim in self.claims(text, language)]
        rank = {SUPPORTED: 2, UNKNOWN: 1, CONTRADICTED: 0}
        best: dict[tuple[str, str, str], tuple[Triple, Verdict]] = {}
        for (h, r, t), verdict in found:
            said = (self.names.get(h, h), phrase(r, self.labels), self.names.get(t, t))
            if said not in best or rank[verdict.what] > rank[best[said][1].what]:
                best[said] = ((h, r, t), verdict)
        return Consistency(tuple(best.values()))


def opened(
    paths: Sequence[str],
    names: str | None = None,
    labels: str | None = None,
    types: str | None = None,
    least: int = 20,
) -> Knowledge:
    """Read a graph and its names.

    Args:
        paths: files of triples, or one folder of a store.
        names, labels, types: TSV files of two columns; names and kinds within the graph (rdfs:label, rdf:type) count
            too.
        least: as `Checker`.

    Raises:
        InputError, DataRejected: a file is not there or broken.
    """
    folder = paths[0] if len(paths) == 1 and Path(paths[0]).is_dir() else None
    graph, left = Graph(folder), Counter[str]()
    for path in () if folder else paths:
        left += graph.load(path)
    pairs = [(h, t) for h, _, t in graph.triples(relation=LABEL)] + ([] if names is None else read_pairs(names))
    kinds: defaultdict[str, list[str]] = defaultdict(list)
    for entity, _, kind in graph.triples(relation=TYPE):
        kinds[entity].append(kind)
    for entity, kind in [] if types is None else read_pairs(types):
        kinds[entity].append(kind)
    facts = tuple(sorted(triple for triple in graph.triples() if triple[1] not in (LABEL, TYPE)))
    entities = list(dict.fromkeys(x for h, _, t in facts for x in (h, t)))
    named = {entity for entity, _ in pairs}
    pairs += [(entity, phrase(entity)) for entity in entities if entity not in named]
    phrases = {} if labels is None else dict(read_pairs(labels))
    linker = Linker(pairs)
    checker = Checker(facts, kinds or None, least)
    claims = Claims(linker, dict.fromkeys(r for _, r, _ in facts), phrases)
    left.pop("triples", None)
    return Knowledge(facts, names_of(pairs), phrases, linker, checker, claims, dict(left))
