"""From rows to the documents that stay: cleaned, filtered by rules, without duplicates; all of it counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from penchant.data import pii, quality
from penchant.data import read as reading_
from penchant.data.clean import clean, even_spaces, repairer
from penchant.data.decontaminate import overlap
from penchant.data.deduplicate import duplicates
from penchant.data.files import is_code
from penchant.data.language import identifier
from penchant.data.read import Reading, Row
from penchant.data.split import position
from penchant.data.threads import roots
from penchant.errors import InputError
from penchant.records import Document

if TYPE_CHECKING:
    from penchant.stages.prepare import Options

__all__ = ["ROW", "THREAD", "Selected", "select"]

ROW = "row_source"  # where the row stood, for data that are grouped by a column
THREAD = "thread"
_EXAMPLES = 5
_LOOKED_AT = 3  # times max_documents
_SHOWN = 300  # characters of an example

Filter = tuple[str, Callable[[str], str | None]]  # a rule's name; why a text is dropped, or None


@dataclass
class Selected:
    """What stays, what was dropped and why, and what the rules did.

    Attributes:
        documents: sorted by where their rows stood.
        drops: `source`, `row`, `cause`, `detail` of each row that was dropped.
        changed: documents that a rule changed, by rule; personal data by kind, in values.
        examples: by rule or cause, the first few: `source`, `detail`, `text` (personal data masked).
        masks: source -> mask -> value, where masks are reversible.
    """

    documents: list[Document] = field(default_factory=list)
    drops: list[dict[str, Any]] = field(default_factory=list)
    changed: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    masks: dict[str, dict[str, str]] = field(default_factory=dict)

    def drop(self, row: Row, cause: str, detail: str, text: str) -> None:
        """Note a row that goes."""
        self.drops.append({"source": row.source, "row": row.row, "cause": cause, "detail": detail})
        self.show(cause, row, detail, text)

    def show(self, rule: str, row: Row, detail: str, text: str) -> None:
        """Keep an example, if there are few of its rule."""
        shown = self.examples.setdefault(rule, [])
        if len(shown) < _EXAMPLES:
            safe = pii.mask(text[:2000])[0][:_SHOWN]
            shown.append({"source": row.source, "detail": pii.mask(detail)[0], "text": safe})


def select(reading: Reading, options: Options) -> Selected:
    """Clean rows, apply the rules that are asked for, drop repeated rows.

    Raises:
        InputError: a column or a path that an option names is not there.
        MissingExtra: a rule's library is not installed.
    """
    _check_column(reading.rows, options.group_column, "data.group_column")
    _check_column(reading.rows, options.reply_column, "data.reply_column")
    repair = repairer() if options.repair else None
    filters = list(_filters(options))
    found = Selected()
    rows: list[Row] = []
    texts: list[str] = []
    for row in sorted(_fewer(reading.rows, options, found), key=lambda row: (row.path.as_posix(), row.row or 0)):
        text = _clean(row, options, repair, found)
        if not text.strip():
            found.drop(row, "empty", "nothing but white space", "")
        elif len(text) < options.min_chars:
            found.drop(row, "short", f"{len(text)} characters, data.min_chars is {options.min_chars}", text)
        elif why := next(((name, detail) for name, rule in filters if (detail := rule(text))), None):
            found.drop(row, *why, text)
        else:
            rows.append(row)
            texts.append(_masked(row, text, options, found))
    kept = _kept(rows, texts, options, found)
    threads = _threads(reading.rows, options)
    found.documents = [_document(rows[k], texts[k], options.group_column, threads) for k in kept]
    return found


def _filters(options: Options) -> Iterator[Filter]:
    """The rules that drop texts, cheap ones first."""
    if options.languages:
        identify = identifier()
        wanted = set(options.languages)

        def foreign(text: str) -> str | None:
            language = identify(text)
            return None if language in wanted else f"looks like {language}"

        yield "language", foreign
    for name in options.rules:
        yield name, quality.RULES[name]
    if options.decontaminate:
        evaluation = reading_.read(options.decontaminate, options.text_column, options.max_document_bytes)
        reading_.check_rejects(evaluation, options.max_reject_rate)
        yield "contaminated", overlap((row.text for row in evaluation.rows), options.decontaminate_words)
    if options.pii == "drop":
        yield "personal data", lambda text: ", ".join(sorted({kind for *_, kind in pii.find(text)})) or None


def _clean(row: Row, options: Options, repair: Callable[[str], str] | None, found: Selected) -> str:
    text = row.text
    for name, change in (("repair", repair), ("spaces", even_spaces if options.spaces else None)):
        if change and not is_code(row.path.name):
            before, text = text, change(text)
            if text != before:
                found.changed[name] += 1
                at = next((k for k, (a, b) in enumerate(zip(before, text, strict=False)) if a != b), len(text))
                found.show(name, row, f"{_near(before, at)!r} became {_near(text, at)!r}", "")
    return clean(text)


def _fewer(rows: Sequence[Row], options: Options, found: Selected) -> Sequence[Row]:
    """Rows to look at where far more are given than asked for: the first by the hash that `max_documents` goes by, and
    some more for those that will be dropped.
    """
    most = None if options.max_documents is None else _LOOKED_AT * options.max_documents
    if most is None or len(rows) <= most or options.reply_column is not None or options.group_column is not None:
        return rows
    ordered = sorted(rows, key=lambda row: position(row.source, "sample"))
    for row in ordered[most:]:
        detail = f"data.max_documents is {options.max_documents}; not looked at"
        found.drops.append({"source": row.source, "row": row.row, "cause": "beyond max_documents", "detail": detail})
    return ordered[:most]


def _near(text: str, at: int) -> str:
    """40 characters on either side of a place; masked before they are cut, as half an address is not told as one."""
    return pii.mask(text[max(0, at - 400) : at])[0][-40:] + pii.mask(text[at : at + 400])[0][:40]


def _masked(row: Row, text: str, options: Options, found: Selected) -> str:
    if options.pii not in ("mask", "reversible"):
        return text
    spans = pii.find(text)
    if not spans:
        return text
    masked, values = pii.mask(text, spans)
    found.changed["pii"] += 1
    found.changed.update(f"pii: {kind}" for *_, kind in spans)
    at = spans[0][0]
    found.show("pii", row, ", ".join(sorted({kind for *_, kind in spans})), masked[max(0, at - 100) : at + 100])
    if options.pii == "reversible":
        found.masks[row.source] = values
    return masked


def _kept(rows: Sequence[Row], texts: Sequence[str], options: Options, found: Selected) -> list[int]:
    """Which rows stay when repeated ones and those beyond `max_documents` are dropped, sorted by source."""
    repeated = duplicates([row.source for row in rows], texts, options.near_duplicates)
    for one in repeated:
        detail = f"of {rows[one.of].source}, similarity {one.similarity:.2f}"
        found.drop(rows[one.index], one.cause, detail, texts[one.index])
    gone = {one.index for one in repeated}
    kept = sorted((k for k in range(len(rows)) if k not in gone), key=lambda k: rows[k].source)
    if options.max_documents is None or len(kept) <= options.max_documents:
        return kept
    chosen = set(sorted(kept, key=lambda k: position(rows[k].source, "sample"))[: options.max_documents])
    for k in kept:
        if k not in chosen:
            detail = f"data.max_documents is {options.max_documents}"
            found.drop(rows[k], "beyond max_documents", detail, texts[k])
    return [k for k in kept if k in chosen]


def _check_column(rows: Sequence[Row], column: str | None, option: str) -> None:
    if column is not None and rows and not any(row.columns.get(column) is not None for row in rows):
        there = ", ".join(map(str, rows[0].columns)) or "none"
        raise InputError(f"no row has the column {column!r}", f"the columns are {there}; name one with {option}",
                         file=rows[0].path)  # fmt: skip


def _threads(rows: Sequence[Row], options: Options) -> dict[str, str]:
    """Row's source -> the root of its thread, of rows that have an id; also those dropped since tie others together."""
    if options.reply_column is None:
        return {}
    _check_column(rows, options.id_column, "data.id_column")
    named = [row for row in rows if row.columns.get(options.id_column) not in (None, "")]
    ids = [str(row.columns[options.id_column]) for row in named]
    above = [row.columns.get(options.reply_column) for row in named]
    parents = {one: None if up in (None, "") else str(up) for one, up in zip(ids, above, strict=True)}
    return {row.source: root for row, root in zip(named, roots(parents, ids), strict=True)}


def _document(row: Row, text: str, group_column: str | None, threads: dict[str, str]) -> Document:
    """A document whose source is its group: what the split keeps together, and what intervals cluster by."""
    columns = {**row.columns, THREAD: threads.get(row.source, row.source)} if threads else row.columns
    value = columns.get(group_column or THREAD) if group_column or threads else None
    if group_column is None and not threads:
        return Document(row.source, text, columns=columns)
    return Document(row.source if value is None else str(value), text, columns={**columns, ROW: row.source})
