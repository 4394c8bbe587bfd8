"""The work of the stage `signal`: read, split, choose on validation, calibrate, measure on test, write the card."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from penchant import console
from penchant.data.examples import raw_rows
from penchant.data.language import guess_language
from penchant.data.split import position
from penchant.data.tables import Bad
from penchant.errors import DataRejected, InputError
from penchant.files import write_json, write_text
from penchant.metrics.calibration import with_intervals
from penchant.metrics.intervals import draws, percentiles
from penchant.raters.agreement import one_against_rest
from penchant.raters.calibrate import log_loss
from penchant.raters.votes import Votes
from penchant.signals._linear import ENCODER, fit

if TYPE_CHECKING:
    from penchant.stages.signal import EncoderOptions

__all__ = [
    "COLUMNS",
    "STRENGTHS",
    "Texts",
    "card",
    "cross_entropy",
    "go",
    "measured",
    "read_texts",
    "table",
    "temperature",
]

STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # the inverse of the penalty, chosen on validation
COLUMNS = ("set", "texts", "accuracy", "macro F1", "log-loss", "ECE", "Brier", "always the commonest")
_MOST_BAD = 0.01


@dataclass(frozen=True, eq=False)
class Texts:
    """Labelled texts.

    Attributes:
        targets: float [texts, labels], distributions.
        votes: of several raters, where rows have them.
    """

    texts: list[str]
    targets: np.ndarray
    left_out: Mapping[str, int]
    votes: Votes | None = None

    def take(self, chosen: np.ndarray) -> Texts:
        """Some of them."""
        return Texts([self.texts[i] for i in chosen], self.targets[chosen], {})


def read_texts(
    path: str, text: str, label: str, values: Mapping[str, str], labels: Sequence[str] = (), soft: bool = True
) -> tuple[Texts, tuple[str, ...]]:
    """Texts of a file with their labels.

    Args:
        text: the column, or several with commas between, which are joined by line breaks.
        label: the column, or several with commas between: the first that a row has.
        values: a label as it stands -> what it counts as; "" leaves the row out.
        labels: those that there are; none: those that occur.
        soft: take a column `probabilities` ({label: p}, as `penchant signal raters` writes it) where there is one.

    Raises:
        InputError: no such column; DataRejected: over 1 % of the rows are unusable, or there is one label alone.
    """
    texts: list[str] = []
    given: list[dict[str, float]] = []
    bad: Counter[str] = Counter()
    votes: list[tuple[str, str, str]] = []
    first: tuple[str, int] | None = None
    for _, _, number, row in raw_rows(path):
        if isinstance(row, Bad):
            bad[row.cause], first = bad[row.cause] + 1, first or (row.cause, number)
            continue
        column = next((name for name in label.split(",") if name in row), None)
        missing = [name for name in text.split(",") if name not in row] or ([] if column else [label])
        if missing or column is None:
            mend = f"the columns are {', '.join(row)}; set --text or --label"
            raise InputError(f"no column {missing[0]!r}", mend, file=path, row=number)
        written = "\n".join(str(row[name]) for name in text.split(",") if row[name] is not None)
        said = values.get(str(row[column]), str(row[column])) if row[column] is not None else ""
        if not written.strip() or not said:
            cause = "left out by its label" if row[column] is not None and not said else "empty text or label"
            bad[cause] += 1
            first = first or (None if cause.startswith("left") else (cause, number))
            continue
        texts.append(written)
        given.append(dict(row["probabilities"]) if soft and isinstance(row.get("probabilities"), dict) else {said: 1.0})
        for rater, vote in row["annotations"].items() if isinstance(row.get("annotations"), dict) else ():
            votes.append((str(number), str(rater), values.get(str(vote), str(vote))))
    unusable = sum(n for cause, n in bad.items() if not cause.startswith("left"))
    if first is not None and unusable > _MOST_BAD * (len(texts) + unusable):
        told = ", ".join(f"{n} {cause}" for cause, n in bad.items())
        raise DataRejected(f"{first[0]}; {unusable} rows are unusable ({told})", "mend them", file=path, row=first[1])
    known = tuple(labels) or tuple(sorted({name for one in given for name in one}))
    if len(known) < 2:
        raise DataRejected(f"every text has the label {', '.join(known) or 'none'}", "give texts of two", file=path)
    if strange := {name for one in given for name in one} - set(known):
        raise InputError(f"label {min(strange)!r} is none of {', '.join(known)}", "set --values", file=path)
    targets = np.array([[one.get(name, 0.0) for name in known] for one in given])
    several = Votes.of(votes) if len({vote for *_, vote in votes}) > 1 else None
    return Texts(texts, targets / targets.sum(1, keepdims=True), dict(bad), several), known


def go(
    train: str,
    output: str,
    text: str,
    label: str,
    values: Mapping[str, str],
    validation: str | None,
    test: str | None,
    also: Sequence[str],
    soft: bool,
    encoder: EncoderOptions | None = None,
    stop: Callable[[], int] = lambda: 0,
) -> dict[str, Any]:
    """Train, write the folder, and say how good it is; `encoder`: fine-tune that instead of a linear model."""
    data, labels = read_texts(train, text, label, values, soft=soft)
    parts = _parts(data, labels, text, label, values, validation, test, soft)
    folder = Path(output)
    training = folder / "training"  # of an encoder, while it lasts
    model, chosen = _linear(parts, labels) if encoder is None else _encoder(encoder, parts, labels, training, stop)
    about: dict[str, Any] = {
        "labels": labels,
        "trained_on": train,
        "texts": {name: len(part.texts) for name, part in parts.items()},
        "label_shares": dict(zip(labels, parts["train"].targets.mean(0).round(4).tolist(), strict=True)),
        "languages": _languages(parts["train"].texts),
        "left_out": dict(data.left_out),
        **chosen,
        "temperature": round(model.temperature, 4),
        "test": measured(model, parts["test"]),
        "ceiling": None if parts["test"].votes is None else one_against_rest(parts["test"].votes),
        "also": {},
    }
    known = {_key(one) for part in ("train", "validation") for one in parts[part].texts}
    for other in also:
        about["also"][other] = measured(
            model, _unseen(read_texts(other, text, label, values, labels, soft)[0], known, other)
        )
    if encoder is None:
        dataclasses.replace(model, about=about).save(folder)
    else:
        model.save(folder)
        told: dict[str, Any] = {
            "kind": ENCODER,
            "labels": labels,
            "temperature": model.temperature,
            "longest": encoder.max_length,
        }
        write_json(folder / "classifier.json", {**told, "about": about})
    write_json(folder / "card.json", about)
    write_text(folder / "README.md", card(about))
    if encoder is not None:
        shutil.rmtree(training, ignore_errors=True)
    return {**about, "folder": str(folder)}


def _linear(parts: Mapping[str, Texts], labels: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """The linear model of the penalty that validation likes best, and what was tried."""
    held = parts["validation"]
    tried = {c: fit(parts["train"].texts, parts["train"].targets, labels, c) for c in STRENGTHS}
    losses = {c: cross_entropy(m.probabilities(held.texts), held.targets) for c, m in tried.items()}
    best = min(losses, key=lambda c: losses[c])
    model = dataclasses.replace(tried[best], temperature=temperature(tried[best], held))
    told = {str(c): round(loss, 5) for c, loss in losses.items()}
    return model, {"strength": best, "validation_cross_entropy": told}


def _encoder(
    options: EncoderOptions,
    parts: Mapping[str, Texts],
    labels: Sequence[str],
    training: Path,
    stop: Callable[[], int],
) -> tuple[Any, dict[str, Any]]:
    """A fine-tuned encoder, and how it was."""
    from penchant.stages._encoder import fit_encoder

    model, held = fit_encoder(options, labels, parts, training, stop), parts["validation"]
    loss = cross_entropy(model.probabilities(held.texts), held.targets)
    model.temperature = temperature(model, held)
    return model, {"encoder": options.model_dump(), "validation_cross_entropy": round(loss, 5)}


def _key(text: str) -> str:
    """Letters and digits alone: the same sentence in another typesetting is the same."""
    return "".join(c for c in text.lower() if c.isalnum())


def _unseen(data: Texts, known: set[str], name: str) -> Texts:
    """Texts that training did not see."""
    fresh = np.flatnonzero([_key(one) not in known for one in data.texts])
    if len(fresh) < len(data.texts):
        console.note(f"{name}: {len(data.texts) - len(fresh)} of {len(data.texts)} texts were trained on: left out")
    if len(fresh) < 2:
        raise DataRejected("every text of it was trained on", "give --also another set", file=name)
    return data.take(fresh)


def _parts(
    data: Texts,
    labels: Sequence[str],
    text: str,
    label: str,
    values: Mapping[str, str],
    validation: str | None,
    test: str | None,
    soft: bool,
) -> dict[str, Texts]:
    """Train, validation and test: files of their own, else by a hash of the text, so that no text is on two sides."""
    own = {
        name: read_texts(path, text, label, values, labels, soft)[0]
        for name, path in (("validation", validation), ("test", test))
        if path is not None
    }
    place = np.array([position(_key(one), "signal train") for one in data.texts])
    cut = {"test": 0.0 if "test" in own else 0.15, "validation": 0.0 if "validation" in own else 0.1}
    parts = {
        "test": place < cut["test"],
        "validation": (place >= cut["test"]) & (place < cut["test"] + cut["validation"]),
        "train": place >= cut["test"] + cut["validation"],
    }
    found = {name: data.take(np.flatnonzero(mask)) for name, mask in parts.items()} | own
    held = {_key(one) for name in ("validation", "test") for one in found[name].texts}
    fresh = np.array([_key(one) not in held for one in found["train"].texts], bool)
    if not fresh.all():
        console.note(f"{int((~fresh).sum())} training texts are in validation or test too: left out")
        found["train"] = found["train"].take(np.flatnonzero(fresh))
    for name, part in found.items():
        if len(part.texts) < 2 or (name == "train" and (part.targets.sum(0) == 0).any()):
            raise DataRejected(f"the {name} part has too few texts of some label", "give more rows")
    return found


def _languages(texts: Sequence[str]) -> dict[str, float]:
    """Shares of guessed languages, by a sample."""
    sample = texts[:: max(1, len(texts) // 200)]
    counts = Counter(guess_language(one) for one in sample)
    return {name: round(n / len(sample), 3) for name, n in counts.most_common(4)}


def cross_entropy(p: np.ndarray, targets: np.ndarray) -> float:
    """Nats a text, of [texts, labels] each."""
    return float(-(targets * np.log(np.clip(p, 1e-6, 1))).sum(1).mean())


def temperature(model: Any, part: Texts) -> float:
    """What makes validation likeliest (Guo et al. 2017, section 4.2), for distributions too."""
    logs = np.log(np.clip(model.probabilities(part.texts), 1e-9, 1))

    def loss(t: float) -> float:
        weights = np.exp(logs / t)
        return cross_entropy(weights / weights.sum(1, keepdims=True), part.targets)

    return float(min(np.geomspace(0.2, 5, 161), key=loss))


def measured(model: Any, part: Texts) -> dict[str, Any]:
    """Accuracy, macro F1, ECE and Brier with 95 % intervals over texts, log-loss; targets that are distributions count
    by their likeliest label, and the cross-entropy to them stands beside.
    """
    p, y = model.probabilities(part.texts), part.targets.argmax(1)
    right, chosen = (p.argmax(1) == y).astype(float), p.argmax(1)
    often = draws(len(y))
    size = len(model.labels)
    joint = np.stack([(often * ((y == a) & (chosen == b))).sum(1) for a in range(size) for b in range(size)], 1)
    joint = joint.reshape(-1, size, size)
    whole = np.array([[((y == a) & (chosen == b)).sum() for b in range(size)] for a in range(size)])[None]
    return {
        "texts": len(y),
        "accuracy": [float(right.mean()), *percentiles(often @ right / often.sum(1))],
        "macro_f1": [float(_macro_f1(whole)[0]), *percentiles(_macro_f1(joint))],
        "log_loss": log_loss(p, y),
        "cross_entropy": cross_entropy(p, part.targets),
        **with_intervals(p.max(1), right, often),
        "majority_label": float(np.bincount(y, minlength=size).max() / len(y)),
    }


def _macro_f1(joint: np.ndarray) -> np.ndarray:
    """Mean F1 over labels [draws], from counts [draws, true, said]."""
    hits = joint.diagonal(axis1=1, axis2=2)
    both = joint.sum(1) + joint.sum(2)
    return np.asarray(np.divide(2 * hits, both, out=np.zeros(hits.shape), where=both > 0).mean(1))


def card(about: Mapping[str, Any]) -> str:
    """README.md of a trained signal."""
    texts, languages = about["texts"], about["languages"].items()
    lines = [
        "# A trained preference signal",
        f"Labels: {', '.join(about['labels'])}. A segment's score is the probability of one of them, from 0 to 1.",
        f"Trained on {texts['train']:,} texts of `{Path(about['trained_on']).name}`; languages by a sample: "
        + ", ".join(f"{name} {share:.0%}" for name, share in languages)
        + f". {_chosen(about)} and temperature ({about['temperature']}) were chosen on {texts['validation']:,} others.",
        "## How well it agrees with people",
        f"| {' | '.join(COLUMNS)} |\n|" + "---|" * len(COLUMNS),
    ]
    rows = [f"| {' | '.join(row)} |" for row in table(about)]
    lines[-1] += "\n" + "\n".join(rows)
    if about["ceiling"] is not None:
        lines.append(f"Ceiling: one rater agrees with the most of the others {about['ceiling']:.3f} of the time.")
    lines.append("```yaml\nsignals: [{name: classifier, model: THIS_FOLDER, label: " + about["labels"][-1] + "}]\n```")
    return "\n\n".join(lines) + "\n"


def _chosen(about: Mapping[str, Any]) -> str:
    if "encoder" in about:
        return f"Fine-tuned from `{Path(about['encoder']['folder']).name}`; the step"
    return "A linear model of n-grams; penalty"


def table(about: Mapping[str, Any]) -> list[list[str]]:
    """A line a set, see `COLUMNS`."""
    found = []
    for name, one in (("test", about["test"]), *((Path(n).name, other) for n, other in about["also"].items())):
        cells = [
            f"{one[k][0]:.3f} [{one[k][1]:.3f}, {one[k][2]:.3f}]" for k in ("accuracy", "macro_f1", "ece", "brier")
        ]
        loss, commonest = (f"{one[k]:.3f}" for k in ("log_loss", "majority_label"))
        found.append([name, str(one["texts"]), *cells[:2], loss, *cells[2:], commonest])
    return found
