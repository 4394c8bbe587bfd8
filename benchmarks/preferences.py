"""Which argument convinces more? A real model learns it from crowds: a reward model, and the DPO family side by side.

    python benchmarks/smollm2.py models/smollm2
    python benchmarks/preferences.py models/smollm2 --data $PENCHANT_DATA/preferences --runs runs/preferences

UKPConvArg1: pairs of arguments for one side of a debate, of which about five people chose the more convincing one.
3,000 of the 10,624 pairs with a choice, drawn by a hash; no debate stands in two parts, so that what is measured is of
debates never seen. A reward model scores a whole argument; policies are measured by what the tuning did to log-probs
(the implicit reward of DPO, against the model that they began from).
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path

import numpy as np
import torch

from _real import Measured, Row, arguments, run
from penchant.data.examples import read_examples
from penchant.files import stable_hash
from penchant.metrics.calibration import brier, expected_calibration_error
from penchant.metrics.intervals import ratio_interval
from penchant.models.heads import load_heads
from penchant.models.load import load_model, load_tokenizer
from penchant.models.quantities import sequence_logprobs
from penchant.models.scorer import scores
from penchant.runtime.device import device_name
from penchant.text.template import Template

PAIRS = 3000
ASK = "Debate: {debate}\nSide: {stance}\n\nGive a convincing argument for this side."
COMMON = ("optimizer.name=adamw", "optimizer.schedule=cosine", "optimizer.warmup=0.1", "max_length=320",
          "eval_steps=25", "save_steps=25")  # fmt: skip
PAIRED = (*COMMON, "batch_size=32", "optimizer.learning_rate=1e-5", "steps=70")
ROWS = {
    "base": Row(),
    "reward_model": Row(("algorithm=reward_model", *PAIRED)),
    "sft": Row(("algorithm=sft", *COMMON, "batch_size=32", "optimizer.learning_rate=1e-5", "steps=70")),
    "dpo": Row(("algorithm=dpo", *PAIRED), "sft"),
    "ipo": Row(("algorithm=ipo", *PAIRED), "sft"),
    "kto": Row(("algorithm=kto", *PAIRED), "sft"),
}
COLUMNS = ("accuracy", "low", "high", "ece", "brier", "by logprobs", "chosen before", "chosen after",
           "rejected before", "rejected after")  # fmt: skip


def prepared(data: Path, runs: Path) -> Path:
    """Pairs as TRL has them, split by debate."""
    from penchant.contracts import StageContext
    from penchant.stages import examples

    folder = runs / "data"
    if (folder / "summary.json").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(data / "ukp_convarg1_pairs.jsonl.gz", "rt", encoding="utf-8") as handle:
        rows = [row for row in map(json.loads, handle) if row["gold"] in ("a1", "a2")]
    rows = sorted(rows, key=lambda row: stable_hash(row["id"]))[:PAIRS]
    with (runs / "pairs.jsonl").open("w", encoding="utf-8") as out:
        for row in rows:
            better, worse = (row["a1"], row["a2"]) if row["gold"] == "a1" else (row["a2"], row["a1"])
            prompt = ASK.format_map(row)
            out.write(
                json.dumps({"prompt": prompt, "chosen": better, "rejected": worse, "debate": row["debate"]}) + "\n"
            )
    options = examples.Options(
        path=str(runs / "pairs.jsonl"), conversational=True, group_column="debate", fractions=(0.7, 0.1, 0.2)
    )
    examples.run(options, StageContext("data", folder, {}, 0, 1, lambda: 0, print))
    return folder


def measure(folder: Path, start: Path, a: argparse.Namespace, name: str) -> Measured:
    """Share of pairs in the people's order, with an interval over debates; how good its probabilities are; log-probs of
    the answers (nats a token) before and after.
    """
    device, tokenizer = device_name(a.device), load_tokenizer(folder)
    template = Template(tokenizer)
    rows = read_examples(a.runs / "data" / f"{a.split}.parquet")
    pairs = [[template.pair_ids(r.columns["prompt"], r.columns[k]) for k in ("chosen", "rejected")] for r in rows]
    found = dict.fromkeys(("by logprobs", "chosen before", "chosen after", "rejected before", "rejected after"), np.nan)
    if name == "reward_model":
        model = load_model(folder, torch.bfloat16, device)
        load_heads(model, folder)
        flat = scores(model, [[*prompt, *answer] for pair in pairs for prompt, answer in pair])
        margin = np.diff(-np.asarray(flat).reshape(-1, 2), axis=1)[:, 0]
    else:
        before, after = _logprobs(start, pairs, device), _logprobs(folder, pairs, device)
        sizes = np.array([[len(answer) for _, answer in pair] for pair in pairs])
        reward = 0.1 * (after - before) if name not in ("base", "sft") else after / sizes
        margin = reward[:, 0] - reward[:, 1]
        means = [float((x[:, k] / sizes[:, k]).mean()) for k in (0, 1) for x in (before, after)]
        found |= dict(zip(("chosen before", "chosen after", "rejected before", "rejected after"), means, strict=True))
        found["by logprobs"] = float(((after / sizes)[:, 0] > (after / sizes)[:, 1]).mean())
    right = (margin > 0) + 0.5 * (margin == 0)
    debates = [str(r.columns["debate"]) for r in rows]
    spread = ratio_interval(right, np.ones(len(right)), debates)
    probability = 1 / (1 + np.exp(-margin))
    flip = np.arange(len(margin)) % 2 == 1  # every other pair the other way round, so that there are two outcomes
    p, outcome = np.where(flip, 1 - probability, probability), (~flip).astype(float)
    found |= {"ece": expected_calibration_error(p, outcome), "brier": brier(p, outcome)}
    assert spread.value is not None and spread.low is not None and spread.high is not None
    return found | {"accuracy": spread.value, "low": spread.low, "high": spread.high, "rows": len(rows)}


def _logprobs(folder: Path, pairs: list[list[tuple[list[int], list[int]]]], device: str) -> np.ndarray:
    """Of each answer given its prompt: [pairs, 2]."""
    model = load_model(folder, torch.bfloat16, device)
    flat = [both for pair in pairs for both in pair]
    found = sequence_logprobs(model, [[*prompt, *answer] for prompt, answer in flat])
    sums = [x[len(prompt) - 1 :].sum() for x, (prompt, _) in zip(found, flat, strict=True)]
    return np.array(sums).reshape(-1, 2)


if __name__ == "__main__":
    options = arguments(__doc__, ROWS)
    run(options, ROWS, prepared(options.data, options.runs), measure, COLUMNS)
