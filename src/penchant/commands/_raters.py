"""`penchant signal raters`: read, estimate, calibrate, write, tell."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from penchant import console
from penchant.contracts import Context
from penchant.data.examples import raw_rows
from penchant.data.split import position
from penchant.data.tables import Bad
from penchant.errors import InputError, MissingExtra
from penchant.files import writing
from penchant.options import from_arguments
from penchant.plugins import plug
from penchant.raters import calibrate as mending
from penchant.raters.agreement import alpha, one_against_rest
from penchant.raters.read import Layout, read_votes
from penchant.raters.report import against_truth, rows, trustworthy
from penchant.raters.votes import Votes

__all__ = ["go", "show"]


def go(
    data: str,
    method: str,
    settings: Sequence[str],
    layout: Layout,
    output: str | None,
    prompt: str | None,
    positive: str | None,
    truth: str | None,
    calibrate: str | None,
    seed: int,
) -> dict[str, Any]:
    """Do it; everything that is told.

    Raises:
        InputError, DataRejected: an option, column or row is wrong.
        MissingExtra: the method needs a library.
    """
    _require(layout, calibrate, truth)
    rated = read_votes(data, layout)
    votes = rated.votes
    if positive is not None and positive not in votes.labels:
        raise InputError(f"--positive {positive!r} is no label", f"the labels are {', '.join(votes.labels)}")
    entry = {"name": method, **{one.name: one.value for one in from_arguments(settings)}}
    estimate = plug("raters", entry, Context(seed))(votes)
    found: dict[str, Any] = {"method": method, **votes.about(), "left_out": dict(rated.left_out)}
    found |= _agreement(votes)
    found["least_reliable"] = trustworthy(votes, estimate)
    if truth is not None:
        known = _truth(truth, layout)
        halves = _halves(votes, known) if calibrate else (known, known)
        if calibrate:
            estimate = dataclasses.replace(
                estimate, probability=_mended(votes, estimate.probability, halves[0], calibrate)
            )
            found["calibrated_by"] = {"how": calibrate, "items": len(halves[0])}
        found["truth"] = against_truth(votes, estimate.probability, halves[1])
        share = plug("raters", {"name": "majority"}, Context(seed))(votes).probability
        found["majority"] = against_truth(votes, share, halves[1])
    if output is not None:
        made = rows(rated, estimate, layout, positive, prompt)
        with writing(Path(output), "w") as handle:
            handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in made)
        found["output"] = {"file": output, "rows": len(made)}
    return found


def _require(layout: Layout, calibrate: str | None, truth: str | None) -> None:
    if calibrate is not None and calibrate not in ("temperature", "isotonic"):
        raise InputError(f"--calibrate {calibrate!r} is not known", "take temperature or isotonic")
    if calibrate is not None and truth is None:
        raise InputError("--calibrate needs the truth of some items", "give --truth FILE")
    if layout.pair is not None and (len(layout.pair) != 2 or len(layout.choices) not in (2, 3)):
        raise InputError(
            "--pair names two columns, and --choices two or three labels", "e.g. --pair a,b --choices a,b,tie"
        )


def _agreement(votes: Votes) -> dict[str, Any]:
    """Agreement of the raters with each other; alpha is left out, and that is said, without its library."""
    try:
        known: dict[str, Any] = {"krippendorff_alpha": alpha(votes)}
    except MissingExtra as error:
        console.note(f"no agreement: {error}")
        known = {}
    return known | {"one_against_rest": one_against_rest(votes)}


def _truth(path: str, layout: Layout) -> dict[str, str]:
    """True labels by item."""
    found = {}
    for _, _, number, row in raw_rows(path):
        if isinstance(row, Bad):
            raise InputError(f"{row.cause}: {row.detail}", "mend the row", file=path, row=number)
        item = next((row[name] for name in (layout.item, "item", "id", "idx") if name in row), None)
        label = next((row[name] for name in (layout.label, "label", "truth", "gold") if name in row), None)
        if item is None or label is None:
            raise InputError("no columns item and label", f"the columns are {', '.join(row)}", file=path, row=number)
        found[str(item)] = layout.values.get(str(label), str(label))
    return found


def _halves(votes: Votes, known: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Items to calibrate by, and others to measure on."""
    there = {item: known[item] for item in votes.items if known.get(item) in votes.labels}
    first = {item: label for item, label in there.items() if position(item, "calibration") < 0.5}
    return first, {item: label for item, label in there.items() if item not in first}


def _mended(votes: Votes, probability: np.ndarray, known: Mapping[str, str], how: str) -> np.ndarray:
    own = [i for i, item in enumerate(votes.items) if item in known]
    y = np.array([votes.labels.index(known[votes.items[i]]) for i in own], int)
    mend = mending.temperature if how == "temperature" else mending.isotonic
    return mend(probability[own], y)(probability)


def show(found: Mapping[str, Any]) -> None:
    """The findings for people."""
    plain = {k: v for k, v in found.items() if isinstance(v, int | float | str)}
    rows = [(k.replace("_", " "), f"{v:.3f}" if isinstance(v, float) else v) for k, v in plain.items()]
    rows += [(f"label {name}", f"{count:,}") for name, count in found["labels"].items()]
    rows += [(f"left out: {cause}", count) for cause, count in found["left_out"].items()]
    console.table(rows, ("votes", "found"))
    least = [(one["rater"], one["votes"], f"{one['reliability']:.3f}") for one in found["least_reliable"]]
    console.table(least, ("least reliable", "votes", "reliability"))
    if same := found["raters_with_one_label"]:
        console.note(f"{len(same)} raters always give one label ({', '.join(same[:5])}): they tell little")
    if found["items_with_one_vote"]:
        console.note(f"{found['items_with_one_vote']} items have one vote: nothing checks it")
    if "truth" in found:
        lines = [_measured(name, found[name]) for name in ("truth", "majority") if found[name]["items"]]
        lines = [(found["method"] if name == "truth" else name, *rest) for name, *rest in lines]
        console.table(lines, ("against the truth", "items", "accuracy", "log-loss", "ECE", "Brier"))
    if "output" in found:
        console.note(f"{found['output']['rows']} rows: {found['output']['file']}")


def _measured(name: str, one: Mapping[str, Any]) -> tuple[str, ...]:
    def spanned(value: float, low: float | None, high: float | None) -> str:
        return f"{value:.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]")

    figures = [spanned(*one[key]) for key in ("ece", "brier")]
    accuracy = spanned(one["accuracy"], one["low"], one["high"])
    return (name, str(one["items"]), accuracy, f"{one['log_loss']:.3f}", *figures)
