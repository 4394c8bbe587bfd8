"""`penchant signal card`: how well a signal's scores agree with people, and people with each other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from penchant import console, registry
from penchant.data.annotate import score
from penchant.data.split import position
from penchant.errors import DataRejected, InputError
from penchant.files import write_json, write_text
from penchant.metrics.concordance import concordance
from penchant.options import from_arguments
from penchant.raters.read import Layout, read_votes
from penchant.records import Document
from penchant.stages._signals import about, build_signals

__all__ = ["go", "show"]

_MOST_BAD = 0.01
_AT_ONCE = 8  # texts that a service judges together
_FURTHER = 5  # times that a rater is drawn from each text's for the ceiling


@dataclass
class Rated:
    """A text and what people said of it, as numbers."""

    text: str
    votes: list[float]


def go(
    signal: str,
    settings: Sequence[str],
    data: str,
    text: str,
    layout: Layout,
    positive: str | None,
    limit: int,
    output: str | None,
) -> dict[str, Any]:
    """Score the texts, hold the scores against the ratings, and write the card.

    Raises:
        InputError, OptionError, DataRejected: a signal, option, column or row is wrong.
        MissingExtra: the signal needs a library.
    """
    spec = {"name": signal, **{one.name: one.value for one in from_arguments(settings)}}
    (label, built), *_ = build_signals((json.dumps(spec),)).items()
    rated, left_out = _read(data, text, layout, positive)
    there = len(rated)
    chosen = sorted(rated, key=lambda name: position(name, "signal card"))[:limit]
    texts = [rated[name] for name in chosen]
    documents = [Document(name, rated[name].text, (len(rated[name].text),), {}) for name in chosen]
    remote = getattr(registry.load("signals", signal), "REMOTE", False)  # its time is spent waiting
    scores = _scores(documents, label, built, _AT_ONCE if remote else 1)
    means = np.array([np.mean(one.votes) for one in texts])
    shared = np.unique(scores, return_counts=True)[1]  # texts of each score
    if len(shared) < 2:
        raise DataRejected(
            f"every text has the score {scores[0]:g}", "the signal tells nothing of these texts", file=data
        )
    found: dict[str, Any] = {
        "signal": {"spec": spec, **about([spec])[label]},
        "data": data,
        "texts": len(texts),
        "texts_there": there,
        "left_out": left_out,
        "positive": positive,
        "concordance": concordance(scores, means),
        "length_alone": concordance([len(one.text) for one in texts], means),
        "ceiling": _ceiling(texts),
        "votes_a_text": float(np.mean([len(one.votes) for one in texts])),
        "tied": float((shared[shared > 1]).sum() / len(scores)),
        "scores": {q: float(np.quantile(scores, float(q))) for q in ("0.05", "0.25", "0.5", "0.75", "0.95")},
    }
    if (service := getattr(built, "service", None)) is not None:
        counted = ("requests", "cached", "read", "written", "dollars")
        found["service"] = {name: getattr(service, name) for name in counted}
    if output is not None:
        write_json(Path(output) / "card.json", found)
        write_text(Path(output) / "README.md", _page(found))
    return found


def _scores(documents: Sequence[Document], label: str, built: Any, at_once: int) -> np.ndarray:
    """What the signal says of each text, float [texts]; how far it is, is shown."""
    found = np.zeros(len(documents))
    with console.Board() as board, ThreadPoolExecutor(at_once) as pool:
        board.start(label)
        for n, (document,) in enumerate(pool.map(lambda one: score([one], {label: built}), documents)):
            found[n] = document.scores[label][0]
            board.update(label, n + 1, len(documents), {})
    return found


def _read(path: str, text: str, layout: Layout, positive: str | None) -> tuple[dict[str, Rated], dict[str, int]]:
    """Texts by item, with their votes as numbers; what is left out by cause."""
    columns = tuple(text.split(","))
    rated = read_votes(path, replace(layout, keep=columns))
    votes = rated.votes
    counts_as = _numbers(votes.labels, positive)
    written = {
        item: "\n".join(str(row[name]) for name in columns if row[name] is not None) for item, row in rated.rows.items()
    }
    found = {item: Rated(written[item], []) for item in votes.items if written[item].strip()}
    for item, label in zip(votes.item.tolist(), votes.label.tolist(), strict=True):
        if (name := votes.items[item]) in found:
            found[name].votes.append(counts_as[votes.labels[label]])
    empty = len(votes.items) - len(found)
    if empty > _MOST_BAD * len(votes.items):
        raise DataRejected(f"{empty} of {len(votes.items)} texts are empty", "set --text, or leave them out", file=path)
    return found, {**rated.left_out, **({"empty text": empty} if empty else {})}


def _numbers(labels: Sequence[str], positive: str | None) -> dict[str, float]:
    """What a label counts as: itself, where all are numbers; else 1 for the one that shall score high, 0 for others."""
    if positive is not None:
        if positive not in labels:
            raise InputError(f"--positive {positive!r} is no label", f"the labels are {', '.join(labels)}")
        return {label: float(label == positive) for label in labels}
    try:
        return {label: float(label) for label in labels}
    except ValueError:
        mend = f"name the label that shall score high: --positive, one of {', '.join(labels[:8])}"
        raise InputError("the labels are no numbers", mend) from None


def _ceiling(texts: Sequence[Rated]) -> tuple[float | None, float | None, float | None]:
    """One rater against the mean of a text's others, as a signal is held against the mean of all; raters are drawn."""
    several = [one for one in texts if len(one.votes) > 1]
    if len(several) < 2:
        return None, None, None
    rng = np.random.default_rng(0)
    found = []
    for _ in range(_FURTHER):
        at = [int(rng.integers(len(one.votes))) for one in several]
        own = [one.votes[k] for one, k in zip(several, at, strict=True)]
        rest = [(sum(one.votes) - one.votes[k]) / (len(one.votes) - 1) for one, k in zip(several, at, strict=True)]
        found.append(concordance(own, rest))
    kept = [[value for value in figures if value is not None] for figures in zip(*found, strict=True)]
    value, low, high = (float(np.mean(figures)) if figures else None for figures in kept)
    return value, low, high


def _spanned(one: Sequence[float | None]) -> str:
    value, low, high = one
    return "not known" if value is None else f"{value:.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]")


def _rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    texts, votes = f"{found['texts']:,}", f"{found['votes_a_text']:.1f}"
    more = f" of {found['texts_there']:,}, drawn by a hash" if found["texts"] < found["texts_there"] else ""
    return [
        ("texts", f"{texts}{more}, {votes} ratings each"),
        ("concordance with people", _spanned(found["concordance"])),
        ("one rater with the others", _spanned(found["ceiling"])),
        ("length alone", _spanned(found["length_alone"])),
        ("chance", "0.500"),
        ("texts with the same score as another", f"{found['tied']:.1%}"),
    ]  # fmt: skip


def show(found: Mapping[str, Any], output: str | None) -> None:
    """The findings for people."""
    console.table(_rows(found), ("signal " + found["signal"]["name"], Path(found["data"]).name))
    for cause, count in found["left_out"].items():
        console.note(f"left out: {count} {cause}")
    if asked := found.get("service"):
        told = f"{asked['requests']} questions sent, {asked['cached']} known, {asked['read']} tokens read"
        console.note(f"{told} and {asked['written']} written: {asked['dollars']:.4f} dollars")
    if output is not None:
        console.note(f"card: {Path(output) / 'README.md'}")


def _page(found: Mapping[str, Any]) -> str:
    """README.md: the signal, and how well it agrees with people."""
    signal = found["signal"]
    low, high = ("open" if end is None else f"{end:g}" for end in signal["range"])
    languages = signal["languages"] if isinstance(signal["languages"], str) else ", ".join(signal["languages"])
    asked = f"the label {found['positive']}" if found["positive"] is not None else "a higher rating"
    lines = [
        f"# The signal {signal['name']}",
        signal["help"],
        f"From {low} to {high}; higher is preferred. Languages: {languages}. As `{json.dumps(signal['spec'])}`.",
        "## How well it agrees with people",
        f"Of two texts of `{Path(found['data']).name}` that people rate differently, how often the one with {asked} "
        "scores higher (a tie counts half); brackets are 95 % bootstrap intervals over texts.",
        "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in _rows(found)),
    ]
    return "\n\n".join(lines) + "\n"
