"""The two passes of `prepare` over all pieces: clean every row, then score every document that stays and write it."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from penchant import console
from penchant.contracts import StageContext
from penchant.data.annotate import check_constant
from penchant.data.files import Found as FilesFound
from penchant.data.files import packing, size_of
from penchant.data.parallel import Workers
from penchant.data.pieces import PIECE, Piece, pieces, reach, table_of
from penchant.data.read import Reject, check_column, check_rejects
from penchant.data.split import NAMES
from penchant.data.store import Writer, column_types
from penchant.data.summary import Scores, hash_line
from penchant.data.work import Work
from penchant.errors import Stopped
from penchant.files import whole, writing
from penchant.stages._gather import CLEANED, Gathered
from penchant.stages._select import EXAMPLES

if TYPE_CHECKING:
    from penchant.stages.prepare import Options

__all__ = ["Read", "Scored", "clean_all", "json_line", "note_counts", "note_languages", "score_all", "tell"]

_SCORED = "scored"
_LOOKED_AT = 3  # times max_documents
_MUCH = 0.25  # share of segments without text that is worth a word


@dataclass
class Read:
    """What was read and cleaned: pieces, rows, rejects by cause, and what the rules did."""

    pieces: int = 0
    count: int = 0
    rows_of_files: bool = False
    first: list[Reject] = field(default_factory=list)
    causes: Counter[str] = field(default_factory=Counter)
    encodings: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[dict[str, str]]] = field(default_factory=dict)

    def note(self, piece: Piece) -> None:
        """Count what a piece holds."""
        self.pieces += 1
        self.count += len(piece.rows) + len(piece.rejects) + len(piece.unseen)
        self.causes.update(reject.cause for reject in piece.rejects)
        self.first = self.first or piece.rejects[:1]
        self.rows_of_files = self.rows_of_files or any(row.row is not None for row in piece.rows)


def clean_all(options: Options, context: StageContext, found: FilesFound, work: Work, workers: Workers) -> Read:
    """Read every row and clean it, in pieces; those that an earlier attempt finished are read and not cleaned again.

    Raises:
        InputError, DataRejected: the column is wrong, or too many rows are bad.
        Stopped: asked to stop.
    """
    read, within = Read(), 1.0
    if options.max_documents is not None and options.reply_column is None and options.group_column is None:
        within = reach(found, options.text_column, options.max_document_bytes, _LOOKED_AT * options.max_documents)
    unseen: dict[int, list[dict[str, Any]]] = {}
    likely = sum(size_of(source.path) * (3 if packing(source.path) else 1) for source in found.sources) // PIECE
    with writing(context.folder / "rejects.jsonl", "w") as handle:

        def told() -> Iterator[tuple[int, Piece]]:
            column, limit = options.text_column, options.max_document_bytes
            for number, piece in enumerate(pieces(found, column, limit, read.encodings, within)):
                tell(context, number, max(number + 1, likely), "cleaning", documents=read.count)
                read.note(piece)
                for reject in piece.rejects:
                    handle.write(json_line(reject.as_json()))
                if not work.done(CLEANED, number):
                    unseen[number] = [_unseen(source, row, options) for source, row in piece.unseen]
                    yield number, piece

        todo: list[int] = []

        def calls() -> Iterator[tuple[pa.Table]]:
            for number, piece in told():
                todo.append(number)
                yield (table_of(piece.rows),)

        for table, facts in workers.each("clean", calls()):
            number = todo.pop(0)
            facts["drops"] = unseen.pop(number) + facts["drops"]
            work.put(CLEANED, number, table, facts)
    check_column(read.first, sum(read.causes.values()), read.causes, read.rows_of_files)
    check_rejects(read.first, read.causes, read.count, options.max_reject_rate)
    for facts in work.all_facts(CLEANED, read.pieces):
        read.changed.update(facts["changed"])
        for rule, examples in facts["examples"].items():
            shown = read.examples.setdefault(rule, [])
            shown += examples[: EXAMPLES - len(shown)]
    return read


@dataclass
class Scored:
    """What was written: documents, segments and characters by part, languages, scores, how many segments hold no text,
    one hash over everything.
    """

    documents: dict[str, int]
    segments: dict[str, int]
    characters: dict[str, int]
    languages: Counter[str]
    scores: Mapping[str, Scores]
    empty: int
    data_hash: str

    def summary(self, signals: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """As it stands in `summary.json`."""
        return {
            "segments": self.segments,
            "empty_segments": self.empty,
            "characters": self.characters,
            "languages": dict(sorted(self.languages.items())),
            "signals": {label: {**self.scores[label].summary(), **facts} for label, facts in signals.items()},
            "data_hash": self.data_hash,
        }


def score_all(
    options: Options,
    context: StageContext,
    gathered: Gathered,
    threads: Mapping[str, str],
    parts: np.ndarray,
    workers: Workers,
) -> Scored:
    """Score the documents that stay, in pieces, and write the three parts.

    Raises:
        DataRejected: a signal is constant, or gave scores that are none.
        Stopped: asked to stop; finished pieces are kept.
    """
    work, stays = gathered.work, gathered.stays
    numbers = [k for k in range(gathered.count) if stays[gathered.starts[k] : gathered.starts[k + 1]].any()]
    missing = [k for k in numbers if not work.done(_SCORED, k)]
    calls = ((_to_score(gathered, k, stays, threads, parts),) for k in missing)
    for done, (k, (table, facts)) in enumerate(zip(missing, workers.each("score", calls), strict=True)):
        tell(context, done, len(missing), "scoring")
        work.put(_SCORED, k, table, facts)
    languages, seen, empty = Counter[str](), dict[str, set[str]](), 0
    between: dict[str, tuple[float, float]] = {}
    for k in numbers:
        facts = work.facts(_SCORED, k)
        languages.update(facts["languages"])
        empty += facts["empty"]
        for name, kinds in facts["types"].items():
            seen.setdefault(name, set()).update(kinds)
        for name, (least, most) in facts["between"].items():
            low, high = between.get(name, (least, most))
            between[name] = (min(low, least), max(high, most))
    tables = lambda: (work.table(_SCORED, k) for k in numbers)  # noqa: E731
    ends = sum(len(table["ends"].combine_chunks().flatten()) for table in tables())
    check_constant(between, ends)
    if empty > _MUCH * ends:
        context.note(
            f"{empty} of {ends} segments by {options.segment} hold no text, and are scored as such: "
            "take a coarser data.segment"
        )
    return _written(options, context, tables, languages, seen, empty)


def _to_score(gathered: Gathered, k: int, stays: np.ndarray, threads: Mapping[str, str], parts: np.ndarray) -> pa.Table:
    span = slice(gathered.starts[k], gathered.starts[k + 1])
    own = np.flatnonzero(stays[span])
    table = gathered.table(k).select(["source", "text", "columns", "group", "language"]).take(pa.array(own))
    roots = [threads.get(source, source) if threads else None for source in table["source"].to_pylist()]
    table = table.append_column("thread", pa.array(roots, pa.string()))
    return table.append_column("part", pa.array(parts[span][own], pa.uint8())).combine_chunks()


def _written(
    options: Options,
    context: StageContext,
    tables: Callable[[], Iterator[pa.Table]],
    languages: Counter[str],
    seen: Mapping[str, set[str]],
    empty: int,
) -> Scored:
    names = [name.removeprefix("scores.") for name in next(tables()).column_names if name.startswith("scores.")]
    scores = {name: Scores(functools.partial(_of_train, tables, name)) for name in names}
    documents, segments, characters = (dict.fromkeys(NAMES, 0) for _ in range(3))
    scored = Scored(documents, segments, characters, languages, scores, empty, "")
    digest = hashlib.sha256(b"[")
    for code, part in enumerate(NAMES):
        with writing(context.folder / f"{part}.parquet") as handle, Writer(handle, names, column_types(seen)) as writer:
            for table in tables():
                own = table.filter(pa.compute.equal(table["part"], code)).combine_chunks()
                if own.num_rows:
                    columns = [json.loads(text) for text in own["columns"].to_pylist()]
                    writer.write({name: own[name] for name in own.column_names}, columns)
                    scored.documents[part] += own.num_rows
                    scored.segments[part] += len(own["ends"].combine_chunks().flatten())
                    scored.characters[part] += pa.compute.sum(pa.compute.utf8_length(own["text"])).as_py()
    for number, line in enumerate(hash_line(*row) for table in tables() for row in _texts(table)):
        digest.update(b", " * bool(number) + line)
    digest.update(b"]")
    scored.data_hash = digest.hexdigest()
    return scored


def _texts(table: pa.Table) -> Iterator[tuple[str, str]]:
    return zip(table["source"].to_pylist(), table["text"].to_pylist(), strict=True)


def _of_train(tables: Callable[[], Iterator[pa.Table]], name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Scores of the train part in blocks: float32 [segments], and each document's number of segments."""
    for table in tables():
        column = table.filter(pa.compute.equal(table["part"], NAMES.index("train")))["scores." + name].combine_chunks()
        yield column.flatten().to_numpy(), np.diff(column.offsets.to_numpy())


def tell(context: StageContext, done: int, total: int, what: str, **more: Any) -> None:
    """Say how far it is, and hear whether to stop.

    Raises:
        Stopped: asked to.
    """
    if number := context.stop():
        raise Stopped(number)
    console.report_progress(done, total, doing=what, **more)


def note_counts(context: StageContext, read: Read, kept: int, drops: Mapping[str, int]) -> None:
    """One line of how many rows stay and why others do not, and one of bad rows."""
    counts = ", ".join(f"{n} {cause}" for cause, n in sorted(drops.items()))
    context.note(f"{kept} documents of {read.count} rows" + (f" (dropped: {counts})" if counts else ""))
    if read.causes:
        counts = ", ".join(f"{n} {cause}" for cause, n in sorted(read.causes.items()))
        context.note(f"{sum(read.causes.values())} bad rows ({counts}), see {context.folder / 'rejects.jsonl'}")


def note_languages(context: StageContext, languages: Counter[str], signals: Mapping[str, Mapping[str, Any]]) -> None:
    """A line for each signal that does not serve the commonest language."""
    common = languages.most_common(1)[0][0]
    for label, facts in signals.items():
        if facts["languages"] != "any" and common not in (*facts["languages"], "und"):
            served = ", ".join(facts["languages"])
            context.note(f"signal {label} serves {served}, but most documents look like {common}")


def json_line(row: Mapping[str, Any]) -> str:
    """One line of JSON; halves of characters are replaced."""
    return whole(json.dumps(row, ensure_ascii=False)) + "\n"


def _unseen(source: str, row: int | None, options: Options) -> dict[str, Any]:
    detail = f"data.max_documents is {options.max_documents}; not looked at"
    return {"source": source, "row": row, "cause": "beyond max_documents", "detail": detail}
