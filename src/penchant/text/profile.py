"""Who wrote a text, as control tokens: `age=18-29`, `gender=female`, `place=de`, `interests=hiking`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field, field_validator

from penchant.errors import DataRejected, InputError

__all__ = ["Attribute", "attributes_of", "known_values", "tokens_of", "values_of"]


class Attribute(BaseModel, extra="forbid"):
    """One attribute of a profile, and how a row's column becomes its values."""

    column: str | None = Field(None, description="the row's column; null: the attribute's own name")
    bands: list[float] = Field(
        [], description="numbers are told by the bands between these: [30, 45] is <30, 30-44, 45+"
    )
    most: int = Field(50, ge=1, description="the commonest values at most; others get no token")
    least: int = Field(20, ge=1, description="training texts that a value must have")

    @field_validator("bands")
    @classmethod
    def _rising(cls, value: list[float]) -> list[float]:
        if sorted(set(value)) != value:
            raise ValueError("bands rise")
        return value


def values_of(columns: Mapping[str, Any], name: str, attribute: Attribute) -> list[str]:
    """An attribute's values in a row (several where the column is a list); none where it is empty or no number.

    Args:
        name: the attribute's.
    """
    given = columns.get(attribute.column or name)
    found = []
    for value in given if isinstance(given, list | tuple) else [given]:
        if value is None or not str(value).strip():
            continue
        if not attribute.bands:
            found.append(_plain(value))
            continue
        try:
            found.append(_band(float(value), attribute.bands))
        except (TypeError, ValueError):
            continue
    return list(dict.fromkeys(found))


def _band(number: float, bands: Sequence[float]) -> str:
    """Where a number falls: `<30`, `30-44`, `45+`; of whole numbers the last one within."""
    place = sum(number >= edge for edge in bands)
    if place == 0:
        return f"<{bands[0]:g}"
    if place == len(bands):
        return f"{bands[-1]:g}+"
    low, high = bands[place - 1], bands[place]
    return f"{low:g}-{high - 1:g}" if high == int(high) and low == int(low) else f"{low:g}-{high:g}"


def _plain(value: Any) -> str:
    """Lower case, words joined by _; nothing that a token's name cannot hold."""
    return re.sub(r"[\s|<>=,]+", "_", str(value).strip().lower()).strip("_")


def known_values(rows: Iterable[Mapping[str, Any]], attributes: Mapping[str, Attribute]) -> dict[str, dict[str, int]]:
    """Of each attribute the values that get a token, with how many rows have them, the commonest first.

    Raises:
        DataRejected: an attribute has no value that often enough stands in a row.
    """
    counts: dict[str, Counter[str]] = {name: Counter() for name in attributes}
    for row in rows:
        for name, attribute in attributes.items():
            counts[name].update(values_of(row, name, attribute))
    found = {}
    for name, attribute in attributes.items():
        ordered = sorted(counts[name].items(), key=lambda pair: (-pair[1], pair[0]))
        found[name] = {value: n for value, n in ordered[: attribute.most] if n >= attribute.least}
        if not found[name]:
            column = attribute.column or name
            common = ", ".join(f"{value} ({n})" for value, n in ordered[:3]) or "the column is missing or empty"
            raise DataRejected(
                f"profile attribute {name} has no value in {attribute.least} texts (column {column!r}: {common})",
                "name another column, or lower least",
            )
    return found


def tokens_of(columns: Mapping[str, Any], attributes: Mapping[str, Attribute], known: Iterable[str]) -> list[str]:
    """The control tokens of a row's profile, in the attributes' order; those that the tokenizer lacks are left out."""
    there = set(known)
    every = [f"{name}={value}" for name, own in attributes.items() for value in values_of(columns, name, own)]
    return [token for token in every if token in there]


def attributes_of(asked: Sequence[str], known: Sequence[str]) -> list[str]:
    """`age=60+` and the like as control tokens, in the order of training.

    Raises:
        InputError: the model was not trained with such a value.
    """
    for one in asked:
        if one not in known:
            name = one.partition("=")[0]
            own = [token for token in known if token.startswith(f"{name}=")]
            names = list(dict.fromkeys(token.partition("=")[0] for token in known))
            mend = f"it knows {', '.join(own[:12])}" if own else f"its attributes are {', '.join(names) or 'none'}"
            raise InputError(f"the model knows no profile {one!r}", mend)
    return sorted(dict.fromkeys(asked), key=list(known).index)
