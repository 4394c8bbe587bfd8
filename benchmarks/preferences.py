"""Which argument convinces more? A real model learns it from crowds: a reward model, and the DPO family side by side.

    python benchmarks/smollm2.py models/smollm2
    python benchmarks/preferences.py models/smollm2 --data $PENCHANT_DATA/preferences --runs runs/preferences

UKPConvArg1: pairs of arguments for one side of a debate, of which about five people chose the more convincing one.
3,000 of the 10,624 pairs with a choice, drawn by a hash; no debate stands in two parts, so that what is measured is of
debates never seen. A reward model scores a whole argument; DPO, IPO and KTO are measured by what the tuning did to
log-probs (their implicit reward against the model that they began from; a mean over tokens for IPO, as in its loss),
the base and SFT by the mean log-prob of a token. Intervals draw arguments, each of which stands in many pairs. In most
pairs the longer argument wins: `shorter chosen` is the accuracy where it does not; "balanced" weighs that out.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

import numpy as np

from _real import Measured, Row, arguments, interval, read_gzip, run, split_rows
from penchant.data.examples import read_examples
from penchant.files import stable_hash
from penchant.metrics.calibration import brier, expected_calibration_error
from penchant.models.heads import load_heads
from penchant.models.load import load_model, load_tokenizer
from penchant.models.quantities import sequence_logprobs
from penchant.models.scorer import scores
from penchant.runtime.device import device_name
from penchant.runtime.precision import resolve_dtype
from penchant.text.template import Template

PAIRS = 3000
ASK = "Debate: {debate}\nSide: {stance}\n\nGive a convincing argument for this side."
COMMON = ("optimizer.name=adamw", "optimizer.schedule=cosine", "optimizer.warmup=0.1", "max_length=320",
          "eval_steps=25", "save_steps=25")  # fmt: skip
PAIRED = (*COMMON, "batch_size=32", "optimizer.learning_rate=1e-5", "steps=70")
BALANCED = "reward_model, balanced"
ROWS = {
    "base": Row(),
    "reward_model": Row(("algorithm=reward_model", *PAIRED)),
    BALANCED: Row(("algorithm=reward_model", "algorithm_options.length_balance=true", *PAIRED)),
    "sft": Row(("algorithm=sft", *COMMON, "batch_size=32", "optimizer.learning_rate=1e-5", "steps=70")),
    "dpo": Row(("algorithm=dpo", *PAIRED), "sft"),
    "ipo": Row(("algorithm=ipo", *PAIRED), "sft"),
    "kto": Row(("algorithm=kto", *PAIRED), "sft"),
}
IMPLICIT = {"reward_model": "score", BALANCED: "score", "dpo": "reward", "ipo": "mean reward", "kto": "reward"}
BETA = {"reward_model": 1.0, BALANCED: 1.0, "dpo": 0.1, "kto": 0.1}  # times a margin: the log-odds of a preference
COLUMNS = ("accuracy", "shorter chosen", "ece", "brier", "by logprobs", "chosen before", "chosen after",
           "rejected before", "rejected after")  # fmt: skip


def prepared(data: Path, runs: Path) -> Path:
    """Pairs as TRL has them, split by debate."""
    rows = [row for row in read_gzip(data / "ukp_convarg1_pairs.jsonl.gz") if row["gold"] in ("a1", "a2")]
    pairs = [
        {
            "prompt": ASK.format_map(row),
            "chosen": row[row["gold"]],
            "rejected": row["a2" if row["gold"] == "a1" else "a1"],
            "debate": row["debate"],
        }
        for row in sorted(rows, key=lambda row: stable_hash(row["id"]))[:PAIRS]
    ]
    return split_rows(runs, {"train": pairs}, group_column="debate", fractions=(0.7, 0.1, 0.2))


def measure(folder: Path, start: Path, a: argparse.Namespace, name: str) -> Measured:
    """Share of pairs in the people's order, how good its probabilities are, log-probs of the answers (nats a token)."""
    device, path = device_name(a.device), a.runs / "data" / f"{a.split}.parquet"
    rows = read_examples(path)
    judge = name.startswith("reward_model")
    found, items = _scored(folder, path, device) if judge else _policy(folder, start, path, device)
    margin = found.pop("margins")[IMPLICIT.get(name, "log-probs")]
    answers = [[str(row.columns[side][0]["content"]) for row in rows] for side in ("chosen", "rejected")]
    longer = np.sign([len(chosen) - len(rejected) for chosen, rejected in zip(*answers, strict=True)])
    right = (margin > 0) + 0.5 * (margin == 0)
    beta = BETA.get(name)
    return {
        "accuracy": interval(right, answers),
        "shorter chosen": interval(right * (longer < 0), answers, longer < 0),
        "longer wins": float(((longer > 0) + 0.5 * (longer == 0)).mean()),
        **({} if beta is None else _calibration(beta * margin)),
        **found,
        "rows": len(rows),
        "items": {"accuracy": right.tolist(), **items},
        "clusters": answers,
    }


def _calibration(log_odds: np.ndarray) -> Measured:
    """Each pair is seen from both sides, so that there are two outcomes."""
    p = 1 / (1 + np.exp(-np.concatenate([log_odds, -log_odds])))
    outcome = np.repeat([1.0, 0.0], len(log_odds))
    return {"ece": expected_calibration_error(p, outcome), "brier": brier(p, outcome)}


def _scored(folder: Path, path: Path, device: str) -> tuple[Measured, Measured]:
    """What a reward model says."""
    model = load_model(folder, resolve_dtype("auto", device), device)
    load_heads(model, folder)
    pairs = _pairs(folder, path)
    flat = np.array([float(x[-1]) for x in scores(model, [[*prompt, *answer] for prompt, answer in pairs])])
    return {"margins": {"score": flat[::2] - flat[1::2]}}, {}


def _policy(folder: Path, start: Path, path: Path, device: str) -> tuple[Measured, Measured]:
    """What a policy makes of the answers, and what the one that it began from did."""
    (before, sizes), (after, _) = _logprobs(start, path, device), _logprobs(folder, path, device)
    each, gap = after / sizes, after - before
    margins = {"log-probs": each, "reward": gap, "mean reward": gap / sizes}
    items = {f"{side} {when}": (sums / sizes)[:, k] for k, side in enumerate(("chosen", "rejected"))
             for when, sums in (("before", before), ("after", after))}  # fmt: skip
    found: Measured = {name: float(values.mean()) for name, values in items.items()}
    found["by logprobs"] = float(((each[:, 0] > each[:, 1]) + 0.5 * (each[:, 0] == each[:, 1])).mean())
    told = {name.removesuffix(" after"): values.tolist() for name, values in items.items() if name.endswith("after")}
    return found | {"margins": {name: both[:, 0] - both[:, 1] for name, both in margins.items()}}, told


def _pairs(folder: Path, path: Path) -> list[tuple[list[int], list[int]]]:
    """Prompt and answer as token ids: of each row the chosen one, then the rejected one."""
    template = Template(load_tokenizer(folder))
    rows = read_examples(path)
    return [template.pair_ids(r.columns["prompt"], r.columns[k]) for r in rows for k in ("chosen", "rejected")]


@functools.cache
def _logprobs(folder: Path, path: Path, device: str) -> tuple[np.ndarray, np.ndarray]:
    """Log-prob of each answer given its prompt, and its tokens: [rows, 2] each; chosen, rejected."""
    model, pairs = load_model(folder, resolve_dtype("auto", device), device), _pairs(folder, path)
    found = sequence_logprobs(model, [[*prompt, *answer] for prompt, answer in pairs])
    sums = [float(x[len(prompt) - 1 :].sum()) for x, (prompt, _) in zip(found, pairs, strict=True)]
    return np.array(sums).reshape(-1, 2), np.array([len(answer) for _, answer in pairs]).reshape(-1, 2)


if __name__ == "__main__":
    options = arguments(__doc__, ROWS)
    run(options, ROWS, prepared(options.data, options.runs), measure, COLUMNS, ("chosen", "rejected"))
