"""Votes from files: long tables (item, rater, label), rows with all their raters' labels, and pairs of texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penchant.data.examples import raw_rows
from penchant.data.tables import Bad
from penchant.errors import DataRejected, InputError
from penchant.raters.votes import Votes

__all__ = ["Layout", "Rated", "read_votes"]

_ITEM, _RATER, _LABEL = ("item", "id", "idx"), ("rater", "worker", "annotator"), ("label", "choice", "grade")
_MOST_BAD = 0.01  # of the votes, before the data are refused


@dataclass(frozen=True)
class Layout:
    """Where votes stand; what is None is looked for.

    Attributes:
        item, rater, label: columns of a long table, or keys of a list of votes within a row.
        votes: a row's column of all its votes: {rater: label}, or a list of {rater, label}.
        columns: one a rater, instead.
        values: a label as it stands -> what it counts as.
        pair: the columns of two texts that a row compares.
        choices: what says that the first is better, the second, and (if there are ties) neither.
        keep: columns that each row must have; of a long table they are kept with the item.
    """

    item: str | None = None
    rater: str | None = None
    label: str | None = None
    votes: str | None = None
    columns: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    pair: tuple[str, str] | None = None
    choices: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Rated:
    """Votes, and the row that each item was read from (of a long table its name, and what the layout keeps)."""

    votes: Votes
    rows: Mapping[str, Mapping[str, Any]]
    left_out: Mapping[str, int]


def read_votes(path: str, layout: Layout) -> Rated:
    """All votes of a file.

    Raises:
        InputError: no such file or column.
        DataRejected: over 1 % of the votes are unusable (names the first), or all labels are the same.
    """
    triples: list[tuple[str, str, str]] = []
    rows: dict[str, dict[str, Any]] = {}
    bad: Counter[str] = Counter()
    first: tuple[str, int, str] | None = None
    for name, _, number, row in raw_rows(path):
        found, wrong = ([], [row.cause]) if isinstance(row, Bad) else _votes_of(row, f"{name}#{number}", layout)
        for cause in wrong:
            bad[cause] += 1
            first = first or (cause, number, name)
        for item, rater, label in found:
            triples.append((item, rater, label))
            rows.setdefault(item, _own(row, item, layout))
    if first is not None and sum(bad.values()) > _MOST_BAD * (len(triples) + sum(bad.values())):
        counts = ", ".join(f"{n} {cause}" for cause, n in bad.most_common())
        raise DataRejected(
            f"{first[0]}; {sum(bad.values())} of {len(triples) + sum(bad.values())} votes are unusable ({counts})",
            "mend them, or leave their rows out",
            file=path,
            row=first[1],
        )
    pairs = None
    if layout.pair is not None:
        a, b = layout.pair
        pairs = {item: (str(row[a]), str(row[b])) for item, row in rows.items()}
    return Rated(Votes.of(triples, layout.choices, pairs), rows, dict(bad))


def _votes_of(row: Mapping[str, Any], place: str, layout: Layout) -> tuple[list[tuple[str, str, str]], list[str]]:
    """(item, rater, label) of each vote in a row, and what is wrong with the others."""
    within = layout.votes or next((key for key in ("annotations", "judgements", "votes") if key in row), None)
    if layout.columns:
        item = str(row.get(layout.item or "", place))
        given = [(name, _column(row, name)) for name in layout.columns]
    elif within is not None:
        item = str(row.get(layout.item or "", place))
        given = _within(_column(row, within), within, layout)
    else:
        item = str(row[_named(row, layout.item, _ITEM, "item")])
        given = [
            (str(row[_named(row, layout.rater, _RATER, "rater")]), row[_named(row, layout.label, _LABEL, "label")])
        ]
    found, wrong = [], []
    for rater, label in given:
        said = str(label).strip()
        said = layout.values.get(said, said) if label is not None else ""
        if not said:
            wrong.append("missing label")
        elif layout.choices and said not in layout.choices:
            wrong.append(f"label {said!r} is none of {', '.join(layout.choices)}")
        else:
            found.append((item, str(rater), said))
    return found, wrong


def _within(votes: Any, column: str, layout: Layout) -> list[tuple[str, Any]]:
    if isinstance(votes, Mapping):
        return [(str(rater), label) for rater, label in votes.items()]
    if isinstance(votes, list) and all(isinstance(vote, Mapping) for vote in votes):
        return [
            (str(vote[_named(vote, layout.rater, _RATER, "rater")]), vote[_named(vote, layout.label, _LABEL, "label")])
            for vote in votes
        ]
    raise InputError(f"column {column!r} holds no votes", "give {rater: label}, or a list of {rater, label}")


def _column(row: Mapping[str, Any], name: str) -> Any:
    if name not in row:
        raise InputError(f"no column {name!r}", f"the columns are {', '.join(map(str, row))}")
    return row[name]


def _named(row: Mapping[str, Any], given: str | None, usual: Sequence[str], what: str) -> str:
    names = (given,) if given is not None else usual
    found = next((name for name in names if name in row), None)
    if found is None:
        raise InputError(
            f"no column {' or '.join(map(repr, names))} for the {what}",
            f"the columns are {', '.join(map(str, row))}; set --{what}",
        )
    return found


def _own(row: Any, item: str, layout: Layout) -> dict[str, Any]:
    """What is kept of a row: all of it, but of a long table's the item alone."""
    kept = {name: _column(row, name) for name in (*layout.keep, *(layout.pair or ()))}
    long = not layout.columns and layout.votes is None and not {"annotations", "judgements", "votes"} & set(row)
    return {"item": item, **kept} if long and layout.pair is None else dict(row)
