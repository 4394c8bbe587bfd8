"""What `tune` trains on where an algorithm learns from rows: encoded once, those that do not fit counted."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from penchant import registry
from penchant.batches.balance import by_length, preferred_longer
from penchant.batches.rows import Item, Rows, batch_of, with_values
from penchant.batches.scored import scored_items
from penchant.batches.spread import cost, cut
from penchant.batches.unpaired import Unpaired, mismatched
from penchant.data.examples import is_examples, read_examples
from penchant.errors import DataRejected, InputError
from penchant.files import read_json, stable_hash, writing
from penchant.metrics.calibration import brier, expected_calibration_error
from penchant.models.quantities import quantities
from penchant.records import Example
from penchant.stages._continuations import continuations
from penchant.stages._preflight import show_rows
from penchant.stages._work import Made, Work
from penchant.stages.tune import Options
from penchant.text.template import Template

__all__ = ["ONLINE", "check", "longest", "make", "preview"]

ONLINE = False  # reference log-probs are a column, computed once before training
_MOST_LEFT_OUT = 0.5  # of the rows, before a run is refused

Encode = Callable[[Template, Mapping[str, Any]], list[Item]]


def check(options: Options, model: Any) -> None:
    """Refuse rows that are longer than the model's context."""
    limit = model.config.max_position_embeddings
    if longest(options) > limit:
        raise InputError(f"max_length {options.max_length} passes the model's context of {limit}", "lower it")


def longest(options: Options) -> int:
    """Tokens of the longest row."""
    return options.max_length


def make(work: Work) -> Made:
    """The source of rows, and the same loss on validation rows."""
    options, context, data = work.options, work.context, work.context.inputs["data"]
    source = getattr(registry.load("algorithms", options.algorithm), "SOURCE", "examples")
    _check_format(data, source, options.algorithm)
    template = Template(work.tokenizer, _chat_template(options))
    train, left = _encoded(work, template, data / "train.parquet", source)
    held, _ = _encoded(work, template, data / "validation.parquet", source)
    held = held[: options.eval_prompts]
    if train:
        show_rows(train, left, work.tokenizer, context)
    needs = getattr(work.algorithm.objective, "needs", ())
    if "weight" in needs:
        train = by_length(train)
    others: list[Item] = []
    if "reference_logprobs" in needs:
        train, held = (_referred(work, items, name) for items, name in ((train, "train"), (held, "validation")))
        if source == "unpaired":
            others = _referred(work, mismatched(train), "mismatched")
    micro = max(1, work.micro_batch_size // (2 if "pairs" in source else 1))  # a pair is two rows
    rows = (options.batch_size, micro, context.seed, work.mesh)
    made: Rows = Unpaired(work.model, train, others, *rows) if others else Rows(work.model, train, *rows)
    steps = options.steps if options.epochs is None else max(1, round(options.epochs * len(train) / options.batch_size))
    evaluate = HeldOut(work, held) if held else None
    summary = {"rows": len(train), "left_out": dict(left), "epochs": round(steps * options.batch_size / len(train), 3)}
    if source == "scored_pairs":
        summary["pairs"] = _sides(train, context.note)
    return Made(made, evaluate, {}, lambda: summary, steps)


def preview(work: Work) -> dict[str, Any]:
    """What `make` would train on, shown; one forward says how long a step takes about.

    Raises:
        InputError, DataRejected: what would stop the run.
    """
    options, data = work.options, work.context.inputs["data"]
    source = getattr(registry.load("algorithms", options.algorithm), "SOURCE", "examples")
    _check_format(data, source, options.algorithm)
    train, left = _encoded(work, Template(work.tokenizer, _chat_template(options)), data / "train.parquet", source)
    if not any(keep.any() for item in train for keep in item.kept()):
        raise DataRejected("no row has a token to learn from", "give rows with answers that fit into max_length")
    found = show_rows(train, left, work.tokenizer, work.context)
    batch = batch_of(train[: work.micro_batch_size], work.model)
    begin = time.perf_counter()
    with torch.no_grad():
        quantities(work.model, batch, ("logprobs",))
    each = (time.perf_counter() - begin) / len(train[: work.micro_batch_size])
    threads = work.mesh.row_threads
    return {**found, "seconds_a_step": round(3 * each * options.batch_size / threads, 3)}  # a backward is two forwards


def _sides(items: Sequence[Item], note: Callable[[str], None]) -> dict[str, int]:
    """How often the longer answer is preferred, the shorter one, and neither; said, where a model may learn length."""
    side = preferred_longer(items)
    found = {name: int((side == sign).sum()) for name, sign in (("longer", 1), ("shorter", -1), ("neither", 0))}
    decided = found["longer"] + found["shorter"]
    if decided and not 0.4 <= found["longer"] / decided <= 0.6:
        which = max(("longer", "shorter"), key=lambda name: found[name])
        mend = "algorithm_options.length_balance=true evens it out"
        note(f"the {which} answer is preferred in {found[which]} of {decided} pairs ({mend})")
    return found


def _told(left: Mapping[str, int]) -> str:
    return "".join(f", {count} left out: {cause}" for cause, count in left.items())


def _check_format(data: Path, source: str, algorithm: str) -> None:
    summary = read_json(data / "summary.json")
    there = summary.get("format") if is_examples(summary) else "documents"
    if there == "documents" and source == "examples":
        return
    if there not in _TAKES[source]:
        raise InputError(
            f"{algorithm} learns from {' or '.join(_TAKES[source])} rows, and the data are {there}",
            "give rows with such columns (see `penchant tune --help`), or another --algorithm",
            file=data,
        )


def _chat_template(options: Options) -> str | None:
    return None if options.chat_template is None else Path(options.chat_template).read_text(encoding="utf-8")


def _pair(template: Template, columns: Mapping[str, Any]) -> list[Item]:
    prompt, chosen = template.pair_ids(columns["prompt"], columns["chosen"])
    _, rejected = template.pair_ids(columns["prompt"], columns["rejected"])
    both = (tuple(chosen), tuple(rejected))
    soft = columns.get("probability")
    known = {} if soft is None else {"probability": tuple(np.full(len(c), float(soft), np.float32) for c in both)}
    margin = columns.get("margin")
    if margin is not None:
        known["margin"] = tuple(np.full(len(c), float(margin), np.float32) for c in both)
    return [Item(tuple(prompt), both, known)]


def _answer(template: Template, columns: Mapping[str, Any]) -> list[Item]:
    answer = columns.get("completion", columns.get("chosen"))
    prompt, completion = template.pair_ids(columns.get("prompt", ""), answer)
    if not prompt:  # a text by itself: its first token is read, not asked for
        prompt, completion = completion[:1], completion[1:]
    return [Item(tuple(prompt), (tuple(completion),))] if completion else []


def _labelled(template: Template, columns: Mapping[str, Any]) -> list[Item]:
    if "chosen" in columns and "rejected" in columns:
        return [
            item
            for name, label in (("chosen", 1.0), ("rejected", 0.0))
            for item in _labelled(template, {"prompt": columns["prompt"], "completion": columns[name], "label": label})
        ]
    prompt, completion = template.pair_ids(columns["prompt"], columns["completion"])
    column = np.full(len(completion), float(columns["label"]), np.float32)
    return [Item(tuple(prompt), (tuple(completion),), {"label": (column,)})]


def _scored_pair(template: Template, columns: Mapping[str, Any]) -> list[Item]:
    """A pair whose scores are read at the end of each answer: a further label stands there."""
    (pair,) = _pair(template, columns)
    ends = tuple((*c, c[-1]) for c in pair.completions)
    last = tuple(np.arange(len(c)) == len(c) - 1 for c in ends)
    grown = {name: tuple(np.append(v, v[-1]) for v in values) for name, values in pair.columns.items()}
    return [Item(pair.prompt, ends, grown, last)]


def _steps(template: Template, columns: Mapping[str, Any]) -> list[Item]:
    """An answer in steps, a line each; a label stands after each."""
    steps, labels = columns["completions"], [float(label) for label in columns["labels"]]
    asked = columns["prompt"]
    said = "\n".join(str(step) for step in steps)
    answer = said if isinstance(asked, str) else [{"role": "assistant", "content": said}]
    prompt, whole = template.pair_ids(asked, answer)
    pieces = [template.tokenizer.encode(str(step) + "\n") for step in steps]
    ids = [*[i for piece in pieces for i in piece][:-1], whole[-1]]
    ends = np.cumsum([len(piece) for piece in pieces])
    completion = (*ids, ids[-1])
    keep, label = np.zeros(len(completion), bool), np.zeros(len(completion), np.float32)
    keep[ends], label[ends] = True, labels
    return [Item(tuple(prompt), (completion,), {"label": (label,)}, (keep,))]


# By an algorithm's SOURCE: the formats that feed it, and how a row of them is encoded.
_TAKES = {
    "examples": ("prompt_completion", "language_modeling", "preference", "unpaired", "scored"),
    "pairs": ("preference",),
    "scored_pairs": ("preference",),
    "unpaired": ("unpaired", "preference"),
    "scored": ("scored", "scored_list"),
    "steps": ("stepwise",),
}
_ENCODE: dict[str, Encode] = {
    "examples": _answer,
    "pairs": _pair,
    "scored": scored_items,
    "scored_pairs": _scored_pair,
    "steps": _steps,
    "unpaired": _labelled,
}


def _encoded(work: Work, template: Template, path: Path, source: str) -> tuple[list[Item], Counter[str]]:
    """Rows as tokens, and how many were left out by cause.

    Raises:
        DataRejected: most rows do not fit.
    """
    if not is_examples(read_json(path.parent / "summary.json")):
        return continuations(work, path)
    items: list[Item] = []
    left: Counter[str] = Counter()
    examples: list[Example] = read_examples(path)
    soft = [e.columns.get("probability") is not None for e in examples]
    if any(soft) and not all(soft):
        raise InputError("some rows have a probability and others none", "give all of them one, or none", file=path)
    for example in examples:
        try:
            found = _ENCODE[source](template, example.columns)
        except InputError as error:
            raise InputError(f"{example.source}: {error.problem}", error.mend, file=path) from error
        for item in found:
            if max(len(item.prompt) + len(c) for c in item.completions) > longest(work.options):
                left[f"longer than max_length {longest(work.options)}"] += 1
            else:
                items.append(item)
    if examples and sum(left.values()) > _MOST_LEFT_OUT * (len(items) + sum(left.values())):
        raise DataRejected(
            f"{sum(left.values())} of {len(items) + sum(left.values())} rows do not fit{_told(left)}",
            "raise max_length=, or give shorter rows",
            file=path,
        )
    return items, left


def _referred(work: Work, items: Sequence[Item], name: str) -> list[Item]:
    """Rows with the reference's log-probs: the policy's before its first step, kept on disk for when it goes on."""
    weights = [stable_hash(path) for path in sorted(work.context.inputs["model"].rglob("*.safetensors"))]
    key = stable_hash([weights, str(work.model.dtype), [[item.prompt, item.completions] for item in items]])[:16]
    path = work.context.folder / "reference" / f"{name}-{key}.npy"
    flat = [values for item in items for values in item.completions]
    if work.mesh.most(int(not path.is_file())):
        with work.mesh.whole(work.model) as model:
            model.eval()
            found = with_values(work.mesh, model, items, "reference_logprobs", work.micro_batch_size)
        if work.mesh.first:
            with writing(path) as handle:
                np.save(handle, np.concatenate([v for item in found for v in item.columns["reference_logprobs"]]))
        return found
    values = iter(np.split(np.load(path, allow_pickle=False), np.cumsum([len(c) for c in flat])[:-1]))
    return [
        Item(
            item.prompt,
            item.completions,
            {**item.columns, "reference_logprobs": tuple(itertools.islice(values, len(item.completions)))},
            item.keep,
        )
        for item in items
    ]


class HeldOut:
    """The objective on validation rows: `eval_loss`, and its metrics with `eval_` before their names."""

    def __init__(self, work: Work, items: Sequence[Item]):
        self.work, self.items = work, items

    def __call__(self, step: int) -> dict[str, float]:
        """All metrics of the objective, over all processes."""
        mesh, objective = self.work.mesh, self.work.algorithm.objective
        order = sorted(self.items, key=lambda item: item.size)
        if "kl" in getattr(objective, "needs", ()):  # KTO's batch statistic: at 0 here, so that rows stand alone
            zeros = [
                {**item.columns, "kl": tuple(np.zeros(len(c), np.float32) for c in item.completions)} for item in order
            ]
            order = [Item(i.prompt, i.completions, columns, i.keep) for i, columns in zip(order, zeros, strict=True)]
        batches = [batch_of(group, self.work.model) for group in cut(order, self.work.micro_batch_size, mesh.lanes)]

        def one(model: Any, batch: Any) -> tuple[dict[str, float], dict[str, tuple[float, float]], dict[str, Any]]:
            with torch.no_grad():
                known = quantities(model, batch, objective.quantities)
                terms = objective.loss(known, batch)
                said = objective.predictions(known, batch) if hasattr(objective, "predictions") else {}
            stats = {key: pair for term in terms.values() for key, pair in term.stats.items()}
            sizes = {"longer": longer(batch)} if said and getattr(objective, "unit", "") == "pair" else {}
            return {name: float(term.sum) for name, term in terms.items()}, stats, {**said, **sizes}

        mine = mesh.share(batches, cost)
        totals = mesh.sum(objective.totals(mine))
        with mesh.whole(self.work.model) as model:
            model.eval()
            found = mesh.each(model, mine, one, cost)
        sums, tops, counts = Counter[str](), Counter[str](), Counter[str]()
        for terms, stats, _ in found:
            sums.update(terms)
            tops.update({key: top for key, (top, _) in stats.items()})
            counts.update({key: n for key, (_, n) in stats.items()})
        losses, top, count = mesh.sum(dict(sums)), mesh.sum(dict(tops)), mesh.sum(dict(counts))
        means = {f"eval_{key}": value / max(count[key], 1.0) for key, value in top.items()}
        judged = self._calibration([said for _, _, said in found if said])
        return {"eval_loss": sum(value / totals[name] for name, value in losses.items()), **means, **judged}

    def _calibration(self, said: Sequence[Mapping[str, np.ndarray]]) -> dict[str, float]:
        """ECE and Brier of what is predicted over all processes; for pairs, what length alone would have said."""
        parts = [{name: values.tolist() for name, values in one.items()} for one in said]
        every = [one for rank in self.work.mesh.gather(parts) for one in rank]
        if not every:
            return {}
        joined = {name: np.concatenate([one[name] for one in every]) for name in every[0]}
        p, y = joined["probability"], joined["outcome"]
        found = {"eval_ece": expected_calibration_error(p, y), "eval_brier": brier(p, y)}
        if "longer" in joined:
            gap, judged = joined["longer"], y != 0.5  # a tie has no winner
            side = np.sign(gap) * np.sign(y - 0.5)
            right = np.where(p == 0.5, 0.5, (p > 0.5) == (y > 0.5))
            wins = np.where(side == 0, 0.5, side > 0)
            for name, values in (("longer_wins", wins[judged]), ("accuracy_where_shorter_wins", right[side < 0])):
                if len(values):
                    found[f"eval_{name}"] = float(values.mean())
            if p.std() > 0 and gap.std() > 0:
                score = np.log(np.clip(p, 1e-9, 1) / np.clip(1 - p, 1e-9, 1))
                found["eval_length_correlation"] = float(np.corrcoef(score, gap)[0, 1])
        return found


def longer(batch: Any) -> np.ndarray:
    """By how many tokens the chosen answer of each pair is longer, [pairs]; each sequence has one label, at its end."""
    places = batch.positions[batch.at]
    return (places[batch.unit % 2 == 0] - places[batch.unit % 2 == 1]).astype(float)
