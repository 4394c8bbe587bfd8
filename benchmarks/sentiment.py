"""A real model answers in a word whether a sentence is positive: base, SFT and reinforcement learning side by side.

    python benchmarks/smollm2.py models/smollm2
    python benchmarks/sentiment.py models/smollm2 --data $PENCHANT_DATA/sentiment --runs runs/sentiment

SST-2: validation is cut from train (every choice is made there), the dev file is the test and is read once a row. A run
that was stopped goes on; a finished one is not run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from penchant.data.examples import read_examples
from penchant.models.load import load_model, load_tokenizer
from penchant.models.quantities import sequence_logprobs
from penchant.sampling.engine import generate
from penchant.text.template import Template

ASK = 'Is the sentiment of this sentence positive or negative? Answer with one word.\n\n"{text}"'
WORDS = ("negative", "positive")
ONLINE = ["batch_size=128", "num_generations=8", "prompt_tokens=128", "max_completion_length=4", "temperature=1.0",
          "max_clipped_ratio=1.0", "eval_prompts=128", "ask=null", "combine=sum"]  # fmt: skip
REWARD = (
    "rewards=[{name: exact_match, column: answer, first_line: true}, "
    "{name: format, pattern: '(?i)^(positive|negative)\\b', weight: 0.25}]"
)
ROWS: dict[str, tuple[str | None, list[str]]] = {
    "sft": (None, ["algorithm=sft", "steps=40", "batch_size=64"]),
    "grpo, batch baseline": (None, ["algorithm=grpo", "steps=60", *ONLINE, REWARD, "algorithm_options.beta=0",
                                    "algorithm_options.baseline=batch", "algorithm_options.scale_rewards=batch"]),
    "grpo, group baseline": (None, ["algorithm=grpo", "steps=60", *ONLINE, REWARD, "algorithm_options.beta=0"]),
    "rloo": (None, ["algorithm=rloo", "steps=60", *ONLINE, REWARD, "algorithm_options.beta=0"]),
    "ppo": (None, ["algorithm=ppo", "steps=120", *ONLINE, REWARD, "algorithm_options.beta=0", "num_iterations=2"]),
    "sft, then grpo": ("sft", ["algorithm=grpo", "steps=30", *ONLINE, REWARD, "algorithm_options.beta=0",
                               "algorithm_options.baseline=batch", "algorithm_options.scale_rewards=batch"]),
}  # fmt: skip
COMMON = ["optimizer.name=adamw", "optimizer.learning_rate=1e-5", "optimizer.schedule=constant", "max_length=192",
          "optimizer.warmup=0.05", "eval_steps=20", "save_steps=20"]  # fmt: skip


def prepared(data: Path, runs: Path) -> Path:
    """Rows of both files as prompts and answers."""
    from penchant.contracts import StageContext
    from penchant.stages import examples

    folder = runs / "data"
    if not (folder / "summary.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        options = examples.Options(
            path=str(data / "sst2_train.jsonl.gz"),
            parts={"test": str(data / "sst2_dev.jsonl.gz")},
            values={"answer": {"column": "label", "0": WORDS[0], "1": WORDS[1]}},
            templates={"prompt": ASK, "completion": "{answer}"},
            conversational=True,
            fractions=(0.95, 0.05, 0.0),
        )
        examples.run(options, StageContext("data", folder, {}, 0, 1, lambda: 0, print))
    return folder


def tune(name: str, model: Path, data: Path, runs: Path, seed: int, extra: list[str]) -> Path:
    """The folder of a row's model."""
    folder = runs / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
    words = ["tune", f"model={model}", f"data={data}", f"run_dir={folder}", f"seed={seed}", *COMMON, *extra]
    subprocess.run([sys.executable, "-m", "penchant", *words], check=True)
    return next((folder / "models").glob("*/config.json")).parent


def measure(folder: Path, data: Path, split: str, best_of: int = 1) -> dict[str, Any]:
    """Accuracy and macro F1 of greedy answers (or the best of several), AUC of the words' log-probs, label shares."""
    tokenizer = load_tokenizer(folder)
    model, template = load_model(folder, torch.bfloat16), Template(tokenizer)
    rows = read_examples(data / f"{split}.parquet")
    prompts = [template.prompt_ids(row.columns["prompt"]) for row in rows]
    right = np.array([WORDS.index(row.columns["answer"]) for row in rows])
    ask = {"max_new_tokens": 4, "end": [tokenizer.eos_id]}
    if best_of == 1:
        said = [tokenizer.decode(list(s.ids)) for s in generate(model, prompts, temperature=0.0, **ask)]
        found = np.array([_word(text) for text in said])
    else:
        many = [p for p in prompts for _ in range(best_of)]
        words = [_word(tokenizer.decode(list(s.ids))) for s in generate(model, many, temperature=1.0, **ask)]
        groups = np.array(words).reshape(-1, best_of)
        found = np.where((groups == right[:, None]).any(1), right, groups[:, 0])
    answers = [tokenizer.encode(word) for word in WORDS]
    scores = np.array(
        [[float(x[len(p) - 1 :].sum()) for x in sequence_logprobs(model, [[*p, *a] for a in answers])] for p in prompts]
    )
    margin = scores[:, 1] - scores[:, 0]
    f1 = [2 * ((found == k) & (right == k)).sum() / max(1, (found == k).sum() + (right == k).sum()) for k in (0, 1)]
    return {
        "accuracy": float((found == right).mean()),
        "f1": float(np.mean(f1)),
        "auc": _auc(margin, right),
        "calibrated": float(((margin > np.quantile(margin, 1 - right.mean())) == right).mean()),
        "negative": float((found == 0).mean()),
        "positive": float((found == 1).mean()),
        "neither": float((found < 0).mean()),
        "rows": len(rows),
    }


def _word(text: str) -> int:
    first = text.strip().lower()
    return next((k for k, word in enumerate(WORDS) if first.startswith(word)), -1)


def _auc(margin: np.ndarray, right: np.ndarray) -> float:
    """Share of pairs of a positive and a negative sentence that the margin puts in order."""
    above, below = margin[right == 1], margin[right == 0]
    return float(((above[:, None] > below) + 0.5 * (above[:, None] == below)).mean())


def main() -> None:
    """Run the rows and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/sentiment"))
    parser.add_argument("--rows", default=",".join(k.replace(", ", ";") for k in ROWS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", default="test", choices=["validation", "test"])
    a = parser.parse_args()
    data = prepared(a.data, a.runs)
    folders = {"base": a.model}
    columns = ("row", "accuracy", "F1", "AUC", "threshold moved", "negative", "positive", "neither")
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for name in ["base", "best of 8", *(row.replace(";", ", ") for row in a.rows.split(",") if row)]:
        if name in ROWS:
            start, extra = ROWS[name]
            folders[name] = tune(name, folders[start] if start else a.model, data, a.runs, a.seed, extra)
        kept = a.runs / f"{name.replace(', ', '-').replace(' ', '-')}-{a.seed}-{a.split}.json"
        if not kept.is_file():
            kept.write_text(
                json.dumps(measure(folders.get(name, a.model), data, a.split, 8 if name == "best of 8" else 1))
            )
        m = json.loads(kept.read_text())
        cells = [m[k] for k in ("accuracy", "f1", "auc", "calibrated", "negative", "positive", "neither")]
        print(f"| {name} | " + " | ".join(f"{x:.3f}" for x in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
