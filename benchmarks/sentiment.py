"""A real model answers in a word whether a sentence is positive: base, SFT and reinforcement learning side by side.

    python benchmarks/smollm2.py models/smollm2
    python benchmarks/sentiment.py models/smollm2 --data $PENCHANT_DATA/sentiment --runs runs/sentiment --seeds 0,1,2

SST-2: validation is cut from train (every choice is made there), the dev file is the test and is read once a row. A run
that was stopped goes on; a finished one is not run again. `best of 8` takes the right one of eight samples where there
is one; dead groups: the share, over all steps, of those whose samples all got the same reward.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from _real import Measured, Row, arguments, interval, metrics, read_gzip, run, split_rows
from penchant.data.examples import read_examples
from penchant.models.load import load_model, load_tokenizer
from penchant.models.quantities import sequence_logprobs
from penchant.runtime.device import device_name
from penchant.runtime.precision import resolve_dtype
from penchant.sampling.engine import generate
from penchant.text.template import Template

ASK = 'Is the sentiment of this sentence positive or negative? Answer with one word.\n\n"{text}"'
WORDS = ("negative", "positive")
COMMON = ("optimizer.name=adamw", "optimizer.learning_rate=1e-5", "optimizer.schedule=constant", "max_length=192",
          "optimizer.warmup=0.05", "eval_steps=20", "save_steps=20")  # fmt: skip
ONLINE = (*COMMON, "batch_size=128", "num_generations=8", "prompt_tokens=128", "max_completion_length=4",
          "temperature=1.0", "max_clipped_ratio=1.0", "eval_prompts=128", "ask=null", "combine=sum",
          "rewards=[{name: exact_match, column: answer, first_line: true}, "
          "{name: format, pattern: '(?i)^(positive|negative)\\b', weight: 0.25}]",
          "algorithm_options.beta=0")  # fmt: skip
BATCH = ("algorithm_options.baseline=batch", "algorithm_options.scale_rewards=batch")
ROWS = {
    "base": Row(),
    "best of 8": Row(),
    "sft": Row(("algorithm=sft", "steps=40", "batch_size=64", *COMMON)),
    "grpo, batch baseline": Row(("algorithm=grpo", "steps=60", *ONLINE, *BATCH)),
    "grpo, group baseline": Row(("algorithm=grpo", "steps=60", *ONLINE)),
    "rloo": Row(("algorithm=rloo", "steps=60", *ONLINE)),
    "ppo": Row(("algorithm=ppo", "steps=120", *ONLINE, "num_iterations=2")),
    "sft, then grpo": Row(("algorithm=grpo", "steps=30", *ONLINE, *BATCH), "sft"),
    "sft, then grpo, group baseline": Row(("algorithm=grpo", "steps=30", *ONLINE), "sft"),
    "sft, then rloo": Row(("algorithm=rloo", "steps=30", *ONLINE), "sft"),
    "sft, then ppo": Row(("algorithm=ppo", "steps=60", *ONLINE, "num_iterations=2"), "sft"),
}
COLUMNS = ("accuracy", "f1", "auc", "calibrated", "negative", "positive", "neither", "dead groups")


def prepared(data: Path, runs: Path) -> Path:
    """Rows of both files as prompts and answers."""
    return split_rows(
        runs,
        {"train": read_gzip(data / "sst2_train.jsonl.gz"), "test": read_gzip(data / "sst2_dev.jsonl.gz")},
        values={"answer": {"column": "label", "0": WORDS[0], "1": WORDS[1]}},
        templates={"prompt": ASK, "completion": "{answer}"},
        fractions=(0.95, 0.05, 0.0),
    )


def measure(folder: Path, start: Path, a: argparse.Namespace, name: str) -> Measured:
    """Accuracy and macro F1 of greedy answers (or the best of several), AUC of the words' log-probs, label shares.

    `calibrated` is the accuracy of the log-probs with the threshold moved so that as many are positive as should be.
    """
    tokenizer, device = load_tokenizer(folder), device_name(a.device)
    model, template = load_model(folder, resolve_dtype("auto", device), device), Template(tokenizer)
    rows = read_examples(a.runs / "data" / f"{a.split}.parquet")
    prompts = [template.prompt_ids(row.columns["prompt"]) for row in rows]
    right = np.array([WORDS.index(row.columns["answer"]) for row in rows])
    ask = {"max_new_tokens": 4, "end": [tokenizer.eos_id]}
    if name != "best of 8":
        said = [tokenizer.decode(list(s.ids)) for s in generate(model, prompts, temperature=0.0, **ask)]
        found = np.array([_word(text) for text in said])
    else:
        many = [p for p in prompts for _ in range(8)]
        words = [_word(tokenizer.decode(list(s.ids))) for s in generate(model, many, temperature=1.0, **ask)]
        groups = np.array(words).reshape(-1, 8)
        found = np.where((groups == right[:, None]).any(1), right, groups[:, 0])
    answers = [tokenizer.encode(word) for word in WORDS]
    logprobs = sequence_logprobs(model, [[*p, *answer] for p in prompts for answer in answers])
    starts = [len(p) - 1 for p in prompts for _ in answers]
    scores = np.array([x[at:].sum() for x, at in zip(logprobs, starts, strict=True)]).reshape(-1, 2)
    margin = scores[:, 1] - scores[:, 0]
    f1 = [2 * ((found == k) & (right == k)).sum() / max(1, (found == k).sum() + (right == k).sum()) for k in (0, 1)]
    clusters = [[row.source for row in rows]]
    dead = [line["frac_reward_zero_std"] for line in metrics(folder) if "frac_reward_zero_std" in line]
    return {
        "accuracy": interval(found == right, clusters),
        "f1": float(np.mean(f1)),
        "auc": _auc(margin, right),
        "calibrated": float(((margin > np.quantile(margin, 1 - right.mean())) == right).mean()),
        "negative": float((found == 0).mean()),
        "positive": float((found == 1).mean()),
        "neither": float((found < 0).mean()),
        "dead groups": float(np.mean(dead)) if dead else None,
        "rows": len(rows),
        "items": {"accuracy": (found == right).astype(int).tolist()},
        "clusters": clusters,
    }


def _word(text: str) -> int:
    first = text.strip().lower()
    return next((k for k, word in enumerate(WORDS) if first.startswith(word)), -1)


def _auc(margin: np.ndarray, right: np.ndarray) -> float:
    """Share of pairs of a positive and a negative sentence that the margin puts in order."""
    above, below = margin[right == 1], margin[right == 0]
    return float(((above[:, None] > below) + 0.5 * (above[:, None] == below)).mean())


if __name__ == "__main__":
    options = arguments(__doc__, ROWS)
    run(options, ROWS, prepared(options.data, options.runs), measure, COLUMNS, ("accuracy",))
