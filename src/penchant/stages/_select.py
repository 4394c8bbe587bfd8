"""From the rows of a piece to texts that are clean and keep the rules that are asked for; all of it counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from penchant.data import pii, quality
from penchant.data import read as reading_
from penchant.data.clean import clean, even_spaces, repairer
from penchant.data.decontaminate import overlap
from penchant.data.entities import finder
from penchant.data.files import is_code
from penchant.data.language import identifier
from penchant.data.read import Row

if TYPE_CHECKING:
    from penchant.stages.prepare import Options

__all__ = ["EXAMPLES", "Cleaner", "Found"]

EXAMPLES = 5
_SHOWN = 300  # characters of an example

Filter = tuple[str, Callable[[str], str | None]]  # a rule's name; why a text is dropped, or None


@dataclass
class Found:
    """What was dropped of a piece and why, and what the rules did.

    Attributes:
        drops: `source`, `row`, `cause`, `detail` of each row that was dropped.
        changed: documents that a rule changed, by rule; personal data by kind, in values.
        examples: by rule or cause, the first few: `source`, `detail`, `text` (personal data masked).
        masks: source -> mask -> value, where masks are reversible.
        find: personal data of a text, to be masked in what is shown.
    """

    drops: list[dict[str, Any]] = field(default_factory=list)
    changed: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    masks: dict[str, dict[str, str]] = field(default_factory=dict)
    find: Callable[[str], list[pii.Span]] = pii.find

    def drop(self, row: Row, cause: str, detail: str, text: str) -> None:
        """Note a row that goes."""
        self.drops.append({"source": row.source, "row": row.row, "cause": cause, "detail": detail})
        self.show(cause, row.source, detail, text)

    def show(self, rule: str, source: str, detail: str, text: str) -> None:
        """Keep an example, if there are few of its rule."""
        shown = self.examples.setdefault(rule, [])
        if len(shown) < EXAMPLES:
            shown.append({"source": source, "detail": self.masked(detail), "text": self.masked(text[:2000])[:_SHOWN]})

    def masked(self, text: str) -> str:
        """The text as it may be shown."""
        return pii.mask(text, self.find(text))[0]


class Cleaner:
    """The rules that are asked for, made once for many pieces.

    Raises:
        InputError: a path that an option names is not there.
        MissingExtra: a rule's library is not installed.
    """

    def __init__(self, options: Options):
        self.options = options
        self.repair = repairer() if options.repair else None
        self.find = finder(options.entities, options.entity_kinds)
        self.filters = list(_filters(options, self.find))

    def texts(self, rows: Iterable[Row], found: Found) -> Iterator[tuple[Row, str]]:
        """The rows that stay, each with its text as it shall be."""
        for row in rows:
            text = _clean(row, self.options, self.repair, found)
            if not text.strip():
                found.drop(row, "empty", "nothing but white space", "")
            elif len(text) < self.options.min_chars:
                found.drop(row, "short", f"{len(text)} characters, data.min_chars is {self.options.min_chars}", text)
            elif why := next(((name, detail) for name, rule in self.filters if (detail := rule(text))), None):
                found.drop(row, *why, text)
            else:
                yield row, _masked(row, text, self.options, found)


def _filters(options: Options, find: Callable[[str], list[pii.Span]]) -> Iterator[Filter]:
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
        reading_.check_rejects(evaluation.rejects[:1], evaluation.causes, evaluation.count, options.max_reject_rate)
        yield "contaminated", overlap((row.text for row in evaluation.rows), options.decontaminate_words)
    if options.pii == "drop":
        yield "personal data", lambda text: ", ".join(sorted({kind for *_, kind in find(text)})) or None


def _clean(row: Row, options: Options, repair: Callable[[str], str] | None, found: Found) -> str:
    text = row.text
    for name, change in (("repair", repair), ("spaces", even_spaces if options.spaces else None)):
        if change and not is_code(row.path.name):
            before, text = text, change(text)
            if text != before:
                found.changed[name] += 1
                at = next((k for k, (a, b) in enumerate(zip(before, text, strict=False)) if a != b), len(text))
                was, became = (_near(one, at, found) for one in (before, text))
                found.show(name, row.source, f"{was!r} became {became!r}", "")
    return clean(text)


def _near(text: str, at: int, found: Found) -> str:
    """40 characters on either side of a place; masked before they are cut, as half an address is not told as one."""
    return found.masked(text[max(0, at - 400) : at])[-40:] + found.masked(text[at : at + 400])[:40]


def _masked(row: Row, text: str, options: Options, found: Found) -> str:
    if options.pii not in ("mask", "reversible"):
        return text
    spans = found.find(text)
    if not spans:
        return text
    masked, values = pii.mask(text, spans)
    found.changed["pii"] += 1
    found.changed.update(f"pii: {kind}" for *_, kind in spans)
    at = spans[0][0]
    found.show("pii", row.source, ", ".join(sorted({kind for *_, kind in spans})), masked[max(0, at - 100) : at + 100])
    if options.pii == "reversible":
        found.masks[row.source] = values
    return masked
