"""An existing model trained on with human preferences: SmolLM2 on film reviews, led by whether people called them good.

    python benchmarks/smollm2.py models/smollm2
    python benchmarks/base.py models/smollm2 --data $PENCHANT_DATA/sentiment --runs runs/base

Sentences of rt_polarity, whose labels are the signal: conditional training and plain likelihood from the same start by
the same number of tokens. Each model writes from nothing (temperature 0.7, top-p 0.9), asked for good, for bad, and for
nothing; a classifier that learned from SST-2 and VADER, which learned from nobody here, say what is positive. The saved
folder is read by transformers, which must give the same logits.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from penchant import api
from penchant.contracts import Context
from penchant.data.store import read_documents
from penchant.metrics.distinct import distinct
from penchant.metrics.intervals import draws, percentiles
from penchant.models.quantities import sequence_logprobs
from penchant.plugins import plug
from penchant.policy import Policy
from penchant.records import Segment
from penchant.runs.executor import execute

SAMPLES, NEW = 256, 40


def recipe(model: Path, data: Path, runs: Path, steps: int, rate: float, beside: bool, init: str) -> dict:
    """The judge, the data, and both trainings."""
    train = {
        "kind": "pretrain", "inputs": {"data": "prepare", "base": str(model)}, "steps": steps, "batch_size": 16,
        "context": 64, "eval_steps": 25, "eval_tokens": 8192, "save_steps": 25, "sample_tokens": 0,
        "optimizer": {"name": "adamw", "learning_rate": rate, "schedule": "cosine", "warmup": 0.1},
    }  # fmt: skip
    return {
        "name": "base",
        "run_dir": str(runs / "run"),
        "stages": {
            "judge": {
                "kind": "signal", "path": str(data / "sst2_train.jsonl.gz"), "test": str(data / "sst2_dev.jsonl.gz"),
                "values": {"0": "negative", "1": "positive"},
            },
            "prepare": {
                "kind": "prepare", "path": str(data / "rt_polarity.jsonl.gz"), "segment": "document", "language": "en",
                "signals": [{"name": "column", "column": "label", "as": "liked"}],
            },
            **({"mle": train} if beside else {}),
            "conditional": {
                **train, "control_init": init,
                "objective": {"name": "conditional", "signal": "liked", "threshold": 0.5, "drop": 0.1},
            },
        },
    }  # fmt: skip


def figure(values: np.ndarray) -> str:
    low, high = percentiles(draws(len(values)) @ values / len(values))
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


def same_logits(policy: Policy, text: str) -> float:
    """The largest difference from transformers' logits, in float32."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs = AutoModelForCausalLM.from_pretrained(policy.folder, dtype=torch.float32)
    ids = AutoTokenizer.from_pretrained(policy.folder)(text, return_tensors="pt", add_special_tokens=False).input_ids
    with torch.no_grad():
        wanted = theirs(ids).logits[0]
        ours = policy.model.float()
        length = torch.tensor([ids.shape[1]])
        states = ours(ids[0], torch.arange(ids.shape[1]), length)
        return float((states @ ours.head.T - wanted).abs().max())


def told_apart(policy: Policy, path: Path) -> str:
    """Share of held-out sentences that the token of their own label makes likelier than the other one does."""
    documents = read_documents(path)
    ids = [policy.tokenizer.encode(document.text) for document in documents]
    sums = [
        np.array([float(x[1:].sum()) for x in sequence_logprobs(policy.model, [[*head, *one] for one in ids])])
        for head in ([policy.tokenizer.eos_id, policy.control(ask)] for ask in ("good", "bad"))
    ]
    liked = np.array([document.scores["liked"][0] > 0.5 for document in documents])
    return figure(((sums[0] > sums[1]) == liked).astype(float))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--control-init", default="words", choices=["words", "mean"])
    parser.add_argument("--alone", action="store_true", help="without plain likelihood beside")
    a = parser.parse_args()
    run = execute(
        api.resolved(
            recipe(
                a.model.resolve(),
                a.data.resolve(),
                a.runs.resolve(),
                a.steps,
                a.learning_rate,
                not a.alone,
                a.control_init,
            )
        )
    )
    judge = {"name": "classifier", "model": str(run.stage("judge")), "label": "positive"}
    judges = [plug("signals", judge, Context()), plug("signals", {"name": "sentiment"}, Context())]
    conditional = api.load(run.models["conditional"])
    print("| | judged positive (SST-2) | VADER, mean | distinct-2 |\n|---|---|---|---|")
    rows = [(f"conditional, {ask or 'nothing asked'}", conditional, ask) for ask in ("good", "bad", None)]
    if not a.alone:
        rows.insert(0, ("mle", api.load(run.models["mle"]), None))
    for name, policy, ask in rows:
        texts = policy.generate("", n=SAMPLES, max_new_tokens=NEW, temperature=0.7, top_p=0.9, ask=ask)
        said = [np.array([signal([Segment(text, 0)])[0] for text in texts]) for signal in judges]
        print(f"| {name} | {figure((said[0] > 0.5).astype(float))} | {figure(said[1])} "
              f"| {distinct(texts, size=2000).value:.3f} |", flush=True)  # fmt: skip
        (a.runs / f"{name.replace(', ', '-').replace(' ', '-')}.txt").write_text("\n".join(texts), "utf-8")
    held = told_apart(conditional, run.stage("prepare") / "validation.parquet")
    print(f"\nheld-out sentences told apart by the two tokens: {held}")
    print(f"logits of the folder in transformers: {same_logits(conditional, 'a film that is good .'):.1e} apart")


if __name__ == "__main__":
    main()
