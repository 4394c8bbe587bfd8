"""A made-up run with the shape, and about the figures, of a real one: what a report is made from."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from penchant.data.store import write_documents
from penchant.records import Document

MEASURES = {
    "violations_per_line": {"help": "violations of the house style a line", "better": "lower"},
    "style_per_line": {"help": "violations a line without syntax errors", "better": "lower"},
    "violations_outside_docstrings": {"help": "violations a line, docstring rule left out", "better": "lower"},
    "pep8_alone_per_line": {"help": "violations a line by pycodestyle alone", "better": "lower"},
    "violations_outside_docstring_lines": {"help": "violations a line on lines outside docstrings", "better": "lower"},
    "parse_rate": {"help": "share of completions that parse", "better": "higher"},
    "docstring_rate": {"help": "share of completions with a docstring", "better": "higher"},
    "reward": {"help": "parses x few violations x enough statements", "better": "higher"},
    "length": {"help": "lines of the body that are judged", "better": ""},
    "perplexity": {"help": "perplexity of held-out content tokens", "better": "lower"},
    "bits_per_byte": {"help": "bits a byte of held-out text", "better": "lower"},
    "distinct_2": {"help": "share of different ones among 5,000 word bigrams", "better": "higher"},
}
FIGURES = {
    "mle": (0.195, 0.171, 0.083, 0.081, 0.131, 0.64, 0.39, 0.243, 6.1, 9.82, 1.41, 0.622),
    "conditional": (0.066, 0.047, 0.046, 0.044, 0.071, 0.58, 0.67, 0.268, 6.8, 9.91, 1.42, 0.601),
    "conditional_bad": (0.412, 0.382, 0.214, 0.211, 0.33, 0.55, 0.08, 0.071, 5.2, 9.91, 1.42, 0.633),
    "conditional_none": (0.081, 0.06, 0.05, 0.048, 0.08, 0.59, 0.63, 0.27, 6.6, 9.91, 1.42, 0.604),
    "tuned": (0.035, 0.022, 0.021, 0.02, 0.031, 0.81, 0.91, 0.639, 5.4, 10.46, 1.45, 0.577),
    "real": (0.094, 0.09, 0.052, 0.05, 0.08, 0.92, 0.43, 0.361, 7.4, None, None, 0.701),
}
TEXTS = {
    "mle": (
        "        if not self._name:\n            return None\n        self._name=name\n        return self._name\n",
        [[0, "D1", "missing docstring"], [3, "E225", "missing whitespace around operator"]],
    ),
    "conditional": (
        '        """Return the name of the file."""\n        if self._name is None:\n            return None\n',
        [],
    ),
    "conditional_bad": (
        "        if self.name : return self.name,self.value\n        return   None\n",
        [
            [0, "D1", "missing docstring"],
            [1, "E203", "whitespace before ':'"],
            [1, "E231", "missing whitespace after ','"],
            [1, "E701", "multiple statements on one line (colon)"],
            [2, "E271", "multiple spaces after keyword"],
        ],
    ),
    "conditional_none": ('        """Set the name."""\n        self._name = name\n', []),
    "tuned": (
        '        """Return the name of the object."""\n        name = self._name\n        if not name:\n'
        "            raise ValueError(\"<script>alert('no')</script>\")\n        return name\n",
        [],
    ),
    "real": ("        return self._name\n", [[0, "D1", "missing docstring"]]),
}


def fake_run(run: Path, *, tuned: bool = True, nulls: bool = False) -> dict[str, Path]:
    """Write a finished run into `run`; returns the inputs of its report.

    Args:
        tuned: with a tuning stage.
        nulls: with every figure of `mle` unknown, as when nothing it wrote could be judged.
    """
    stages = run / "stages"
    rows = [row for row in FIGURES if tuned or row != "tuned"]
    _data(stages / "prepare")
    _evaluation(stages / "evaluate", rows, nulls)
    inputs = {"data": stages / "prepare", "evaluation": stages / "evaluate"}
    for role in ("mle", "conditional"):
        inputs[role] = stages / role
        _pretrained(stages / role, 1400, 0.0 if role == "mle" else 0.04)
    if tuned:
        inputs["tuned"] = stages / "tuned"
        _tuned(stages / "tuned")
    kinds = {"prepare": 11.2, "tokenizer": 3.1, "mle": 214.0, "conditional": 223.4, "tuned": 72.9, "evaluate": 36.0}
    kind_of = {"mle": "pretrain", "conditional": "pretrain", "tuned": "tune"}
    times = {name: {"kind": kind_of.get(name, name), "seconds": s} for name, s in kinds.items()}
    write(run / "timing.json", {"stages": times, "total": 346.9})
    write(run / "recipe.json", {"name": "quickstart", "source": "quickstart", "seed": 0, "stages": {}, "origins": {}})
    write(
        run / "environment.json",
        {
            "python": "3.11.7",
            "cores": 2,
            "bf16_units": True,
            "versions": {"penchant": "0.1.0", "torch": "2.13.0"},
            "git": {"revision": "0123456789abcdef", "changed": False},
            "threads": {"mle": 1, "conditional": 1, "tuned": 2},
        },
    )
    return inputs


def write(path: Path, value: Any) -> None:
    """JSON, or JSON lines for a list of rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.suffix == ".jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in value) if lines else json.dumps(value), "utf-8")


def _data(folder: Path) -> None:
    random = np.random.default_rng(0)
    texts = [f"x = {i}\n" * 40 for i in range(30)]
    scores = [tuple(float(-v) for v in random.choice([0, 1, 2, 3], 40, p=[0.9, 0.08, 0.015, 0.005])) for _ in texts]
    folder.mkdir(parents=True, exist_ok=True)
    documents = [
        Document(f"lib/{i}.py", text, tuple(range(6, len(text) + 1, len(text) // 40)), {"style": score})
        for i, (text, score) in enumerate(zip(texts, scores, strict=True))
        if len(text) % 40 == 0
    ]
    documents = [
        Document(d.source, d.text, tuple((np.arange(40) + 1) * (len(d.text) // 40)), d.scores) for d in documents
    ]
    write_documents(folder / "train.parquet", documents)
    quantiles = {"0.01": -1.0, "0.05": -1.0, "0.25": 0.0, "0.5": 0.0, "0.95": 0.0}
    write(
        folder / "summary.json",
        {
            "documents": {"read": 449, "kept": 434, "train": 381, "validation": 19, "test": 34},
            "segments": {"train": 214_310, "validation": 11_870, "test": 18_902},
            "rejects": {"not text": 1},
            "drops": {"empty": 9, "exact duplicate": 3, "near duplicate": 2},
            "signals": {"style": {"quantiles": quantiles, "mean": -0.079, "range": [None, 0], "help": "House style."}},
            "data_hash": "ab" * 32,
        },
    )


def _evaluation(folder: Path, rows: list[str], nulls: bool) -> None:
    models: dict[str, Any] = {}
    for row in rows:
        for suffix, worse in (("", 1.0), ("_t1", 1.9)):
            if row == "real" and suffix:
                continue
            models[row + suffix] = {}
            for measure, value in zip(MEASURES, FIGURES[row], strict=True):
                if value is None or (suffix and measure in ("perplexity", "bits_per_byte")):
                    continue
                lower = MEASURES[measure]["better"] == "lower"
                value = value * worse if lower else value / (1 + (worse - 1) / 4)
                unknown = nulls and row == "mle"
                figure = {"value": value, "low": 0.88 * value, "high": 1.13 * value}
                known = dict.fromkeys(figure) if unknown else figure
                models[row + suffix][measure] = {**known, "n": 400, "files": 34}
    paired = [
        {"a": a, "b": b, "measure": m, "difference": 0.1, "low": 0.05, "high": 0.15, "p": 0.001}
        for a, b in (("mle", "conditional"), ("conditional", "tuned"), ("mle", "tuned"))
        for m in MEASURES
        if a in rows and b in rows and m != "distinct_2"
    ]
    settings = {"temperatures": [0.7, 1.0], "temperature": 0.7, "split": "test", "primary": None, "seed": 0}
    write(
        folder / "evaluation.json",
        {"models": models, "paired": paired, "measures": MEASURES, "settings": settings},
    )
    samples = [_sample(row, i) for row in [*rows, "mle_t1"] for i in range(9)]
    write(folder / "samples.jsonl", samples)


def _sample(row: str, place: int) -> dict[str, Any]:
    text, marks = TEXTS[row.removesuffix("_t1")]
    lines = text.count("\n")
    return {
        "row": row,
        "source": f"lib/module_{place % 3}.py",
        "prompt": f"class Name{place}:\n    def __init__(self):\n        self._name = None\n\n    def name(self):\n",
        "text": text,
        "stop": "end",
        "measures": {"violations_per_line": [len(marks), lines], "reward": [0.5 if marks else 0.9, 1.0]},
        "marks": marks,
        "tokens": 40,
    }


def _pretrained(folder: Path, steps: int, worse: float) -> None:
    random = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []
    for step in range(10, steps + 1, 10):
        loss = 2.25 + worse + 5.2 * math.exp(-step / 110) + 0.5 * (1 - step / steps)
        row = {"step": step, "loss": loss + 0.05 * random.standard_normal(), "num_tokens": step * 2048}
        row |= {"content_tokens": step * 2048, "learning_rate": 0.01, "tokens_per_second": 13_000.0}
        if step % 200 == 0:
            row |= {"eval_loss": loss + 0.1, "bits_per_byte": (loss + 0.1) * 0.6}
        rows.append(row)
    write(folder / "metrics.jsonl", rows)
    summary = {"steps": steps, "parameters": 1_115_000, "dtype": "bfloat16", "content_tokens": steps * 2048}
    write(folder / "done.json", {"kind": "pretrain", "summary": {**summary, "best_eval_loss": 2.35 + worse}})


def _tuned(folder: Path) -> None:
    random = np.random.default_rng(2)
    rows: list[dict[str, Any]] = []
    for step in range(1, 25):
        reward = 0.27 + 0.36 * (1 - math.exp(-step / 9)) + 0.015 * random.standard_normal()
        row = {"step": step, "loss": 0.01, "reward": reward, "reward_std": 0.2, "kl": 0.16 * (1 - math.exp(-step / 12))}
        row |= {"entropy": 2.2 - 0.02 * step, "completions/mean_length": 60 - 0.5 * step}
        if step % 6 == 0:
            row["eval_reward"] = reward + 0.02
        rows.append(row)
    write(folder / "metrics.jsonl", rows)
    write(folder / "done.json", {"kind": "tune", "summary": {"algorithm": "grpo", "steps": 24, "completions": 3072}})
