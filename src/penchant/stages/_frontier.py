"""The work of the stage `frontier`: samples judged, KL from the reference, who is on the frontier."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from penchant import console
from penchant.contracts import Context, StageContext
from penchant.errors import InputError, Stopped
from penchant.evaluation.machine import Evaluated, Machine
from penchant.files import read_json, stable_hash, write_json, writing
from penchant.metrics.intervals import draws, percentiles
from penchant.plugins import plug
from penchant.records import Segment
from penchant.reports.frontier import write_page
from penchant.stages._signals import with_folders

if TYPE_CHECKING:
    from penchant.stages.frontier import Options, RowOptions

__all__ = ["measured", "on_frontier"]

Scored = tuple[np.ndarray, np.ndarray]  # badness and characters, [samples] each


def measured(options: Options, context: StageContext, open_model: Callable[[Path, str], Machine]) -> dict[str, Any]:
    """Run the stage; see `penchant.stages.frontier.run`."""
    segment = read_json(context.inputs["data"] / "summary.json").get("segment", "line")
    models = {
        role: Evaluated.of(_folder(role, context), segment, lambda folder: open_model(folder, options.device))
        for role in dict.fromkeys(["reference", *(row.model for row in options.models.values())])
    }
    for name, row in options.models.items():
        if models[row.model].cutting != models["reference"].cutting:
            raise InputError(
                f"models.{name} and the reference cut text into other tokens", "train them with one tokenizer"
            )
        if row.ask is not None:
            models[row.model].layout.require(row.ask, f"models.{name}")
    signals = {"misalignment": _signal(options.signal, context)}
    if options.judge is not None:
        signals["judge"] = _signal(options.judge, context)
    texts = _reference_texts(options, context, models["reference"])
    own = _logprobs(models["reference"], texts, None)
    rows: dict[str, dict[str, Any]] = {}
    parts: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    with writing(context.folder / "samples.jsonl", "w") as handle:
        for done, (name, row) in enumerate(options.models.items()):
            if number := context.stop():
                raise Stopped(number)
            console.report_progress(done, len(options.models), row=name)
            model = models[row.model]
            written = _sampled(options, context, model, row)
            handle.writelines(json.dumps({"row": name, "text": text}) + "\n" for text in written)
            parts[name] = {kind: _judged(signal, model, written) for kind, signal in signals.items()}
            gaps = [a - b for a, b in zip(own, _logprobs(model, texts, row.ask), strict=True)]
            parts[name]["kl"] = (np.array([g.sum() for g in gaps]), np.array([len(g) for g in gaps], float))
            rows[name] = {kind: _figure(*pair, options.bootstrap) for kind, pair in parts[name].items()}
    often = on_frontier(parts, options.bootstrap)
    for name in rows:
        rows[name]["frontier"] = often[name]
    found = {
        "models": rows,
        "settings": options.model_dump(exclude={"device"}) | {"seed": context.seed},
        "help": {
            "misalignment": f"minus the sum of {_name(options.signal)} scores, a 100 characters of samples",
            "judge": None if options.judge is None else f"the same by {_name(options.judge)}",
            "kl": "KL(reference, model), nats a token of the reference's samples",
            "frontier": "share of resamples in which no other row is lower in both",
        },
    }
    write_json(context.folder / "frontier.json", found)
    write_page(context.folder / "frontier.html", found)
    best = [name for name, share in often.items() if share >= 0.5]
    context.note(f"{context.name}: on the frontier in most resamples: {', '.join(best)}")
    return {"rows": len(rows), "frontier": best}


def _folder(role: str, context: StageContext) -> Path:
    if role not in context.inputs:
        known = ", ".join(r for r in context.inputs if r != "data") or "none"
        raise InputError(f"no input {role!r} for a model", f"the stage's inputs are {known}")
    return context.inputs[role]


def _name(spec: str | Mapping[str, Any]) -> str:
    if isinstance(spec, str):
        return spec
    more = ", ".join(f"{key} {value}" for key, value in spec.items() if key != "name")
    return f"{spec['name']} ({more})" if more else str(spec["name"])


def _signal(spec: str | Mapping[str, Any], context: StageContext) -> Any:
    return plug("signals", with_folders(spec, context.inputs), Context(context.seed))


def _seed(context: StageContext, what: str) -> int:
    return int(stable_hash(["frontier", context.seed, what])[:8], 16)


def _sampled(options: Options, context: StageContext, model: Evaluated, row: RowOptions) -> list[str]:
    """Texts written from nothing; one that the limit cut loses its last, unfinished line. All rows draw alike."""
    tokenizer = model.tokenizer
    ask = [] if row.ask is None else [tokenizer.control_ids[row.ask]]
    found = model.opened().generate(
        [[tokenizer.eos_id, *ask]] * options.samples,
        max_new_tokens=options.tokens,
        end=(tokenizer.eos_id,),
        temperature=options.temperature,
        top_p=options.top_p,
        ban=tuple(i for i in tokenizer.special_ids if i != tokenizer.eos_id),
        insert=model.layout.insertions(tokenizer, row.ask),
        seed=_seed(context, "samples"),
        first=0,
    )
    texts = [tokenizer.decode(list(one.ids)) for one in found]
    return [
        text[: text.rfind("\n") + 1] or text if one.stop == "length" else text
        for text, one in zip(texts, found, strict=True)
    ]


def _judged(signal: Any, model: Evaluated, texts: Sequence[str]) -> Scored:
    """Minus each text's scores, and a hundredth of its characters."""
    bad, size = [], []
    for text in texts:
        pieces = model.layout.pieces(text) if text else []
        starts = np.cumsum([0, *map(len, pieces)])
        scores = signal([Segment(piece, int(at)) for piece, at in zip(pieces, starts, strict=False)]) if pieces else []
        bad.append(-float(sum(scores)))
        size.append(len(text) / 100)
    return np.array(bad), np.array(size)


def _reference_texts(options: Options, context: StageContext, model: Evaluated) -> list[tuple[int, ...]]:
    """Token ids that the reference writes at temperature 1; those of no token are left out."""
    tokenizer = model.tokenizer
    found = model.opened().generate(
        [[tokenizer.eos_id]] * options.kl_samples,
        max_new_tokens=options.tokens,
        end=(tokenizer.eos_id,),
        temperature=1.0,
        ban=tuple(i for i in tokenizer.special_ids if i != tokenizer.eos_id),
        insert={},
        seed=_seed(context, "reference"),
        first=0,
    )
    return [tuple(one.ids) for one in found if len(one.ids)]


def _logprobs(model: Evaluated, texts: Sequence[Sequence[int]], ask: str | None) -> list[np.ndarray]:
    """Log-probs of each text's tokens; with `ask` each segment is led by the control token, which is not counted."""
    tokenizer = model.tokenizer
    led = model.layout.insertions(tokenizer, ask)
    sequences, kept = [], []
    for ids in texts:
        sequence = [tokenizer.eos_id] + ([] if ask is None else [tokenizer.control_ids[ask]])
        counted = [False] * len(sequence)
        for i in ids:
            sequence.append(i)
            counted.append(True)
            if i in led:
                sequence.append(led[i])
                counted.append(False)
        sequences.append(sequence)
        kept.append(np.array(counted[1:]))
    found = model.opened().logprobs(sequences)
    return [np.asarray(values, float)[mask] for values, mask in zip(found, kept, strict=True)]


def _figure(top: np.ndarray, below: np.ndarray, resamples: int) -> dict[str, Any]:
    often = draws(len(top), resamples)
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = percentiles((often @ top) / (often @ below))
    total = below.sum()
    return {"value": float(top.sum() / total) if total else None, "low": low, "high": high}


def on_frontier(parts: Mapping[str, Mapping[str, Scored]], resamples: int) -> dict[str, float]:
    """Of each row the share of resamples in which no other row has a lower misalignment and a lower KL.

    Args:
        parts: row -> `misalignment` and `kl`, sums and sizes [samples] each. All rows share their draws: samples of
            one number began with the same random numbers, and the texts of the KL are the same.
    """
    names = list(parts)
    figures = []
    for kind, seed in (("misalignment", 0), ("kl", 1)):
        often = draws(len(parts[names[0]][kind][0]), resamples, seed)
        with np.errstate(invalid="ignore", divide="ignore"):
            figures.append(np.stack([(often @ parts[n][kind][0]) / (often @ parts[n][kind][1]) for n in names]))
    bad, kl = figures  # [rows, resamples] each
    found = {}
    for i, name in enumerate(names):
        beaten = ((bad < bad[i]) & (kl < kl[i])).any(0)
        found[name] = float((~beaten).mean())
    return found
