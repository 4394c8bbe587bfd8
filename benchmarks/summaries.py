"""A real model sums dialogues up: base, SFT, then GRPO on ROUGE-L with a bound on length, and what it does to the rest.

    python benchmarks/smollm2.py models/smollm2
    python benchmarks/summaries.py models/smollm2 --data $PENCHANT_DATA/summarization --runs runs/summaries

DialogSum: train and validation are cut from its dev file (500 dialogues), the test is 300 of its test dialogues with
three references each. ROUGE-L is what is optimised; chrF, the share of word triples copied from the dialogue, the
length against the references', and distinct word pairs are not.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from _real import Measured, Row, arguments, run
from penchant import registry
from penchant.contracts import Context
from penchant.data.examples import read_examples
from penchant.metrics.distinct import words
from penchant.metrics.intervals import ratio_interval
from penchant.models.load import load_model, load_tokenizer
from penchant.runtime.device import device_name
from penchant.sampling.engine import generate
from penchant.text.template import Template

NEW = 80
ASK = "Sum up this dialogue in one or two sentences.\n\n{dialogue}"
COMMON = ("optimizer.name=adamw", "optimizer.learning_rate=1e-5", "optimizer.schedule=constant",
          "optimizer.warmup=0.05", "save_steps=20")  # fmt: skip
ONLINE = (*COMMON, "algorithm=grpo", "steps=40", "batch_size=64", "num_generations=8", "prompt_tokens=512",
          f"max_completion_length={NEW}", "temperature=1.0", "max_clipped_ratio=1.0", "eval_steps=20",
          "eval_prompts=48", "ask=null", "combine=product", "algorithm_options.beta=0.02",
          "rewards=[{name: rouge}, {name: length, low: 10, high: 50}]", "independent={name: chrf}")  # fmt: skip
ROWS = {
    "base": Row(),
    "sft": Row(("algorithm=sft", "steps=50", "batch_size=32", "max_length=640", "eval_steps=25", *COMMON)),
    "grpo": Row(ONLINE),
    "sft, then grpo": Row(ONLINE, "sft"),
}
COLUMNS = ("rougeL", "low", "high", "chrF", "copied", "length ratio", "distinct-2", "cut")


def prepared(data: Path, runs: Path) -> Path:
    """Dialogues with their summaries; `answer` holds all references."""
    from penchant.contracts import StageContext
    from penchant.stages import examples

    folder = runs / "data"
    if (folder / "summary.json").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for part, name in (("train", "dialogsum_dev"), ("test", "dialogsum_3refs")):
        with (
            gzip.open(data / f"{name}.jsonl.gz", "rt", encoding="utf-8") as handle,
            (runs / f"{part}.jsonl").open("w", encoding="utf-8") as out,
        ):
            for row in map(json.loads, handle):
                made = {"prompt": ASK.format_map(row), "completion": row["summaries"][0], "answer": row["summaries"]}
                out.write(json.dumps(made) + "\n")
    options = examples.Options(
        path=str(runs / "train.jsonl"),
        parts={"test": str(runs / "test.jsonl")},
        conversational=True,
        fractions=(0.88, 0.12, 0.0),
    )
    examples.run(options, StageContext("data", folder, {}, 0, 1, lambda: 0, print))
    return folder


def measure(folder: Path, start: Path, a: argparse.Namespace, name: str) -> Measured:
    """Greedy summaries of the split against their references."""
    tokenizer = load_tokenizer(folder)
    model, template = load_model(folder, torch.bfloat16, device_name(a.device)), Template(tokenizer)
    rows = read_examples(a.runs / "data" / f"{a.split}.parquet")
    prompts = [template.prompt_ids(row.columns["prompt"]) for row in rows]
    found = generate(model, prompts, temperature=0.0, max_new_tokens=NEW, end=[tokenizer.eos_id])
    texts = [tokenizer.decode(list(s.ids)).strip() for s in found]
    references = [[str(x) for x in row.columns["answer"]] for row in rows]
    rouge, chrf = (_metric(metric)(texts, references) for metric in ("rouge", "chrf"))
    spread = ratio_interval(rouge, np.ones(len(rouge)), [row.source for row in rows])
    sizes = [len(words(text)) for text in texts]
    wanted = [np.mean([len(words(r)) for r in own]) for own in references]
    copied = [_copied(text, row.columns["prompt"][-1]["content"]) for text, row in zip(texts, rows, strict=True)]
    pairs = [pair for text in texts for pair in zip(words(text), words(text)[1:], strict=False)][:3000]
    assert spread.value is not None and spread.low is not None and spread.high is not None
    return {
        "rougeL": spread.value,
        "low": spread.low,
        "high": spread.high,
        "chrF": float(np.mean(chrf)),
        "copied": float(np.mean(copied)),
        "length ratio": float(np.sum(sizes) / np.sum(wanted)),
        "distinct-2": len(set(pairs)) / max(1, len(pairs)),
        "cut": float(np.mean([s.stop == "length" for s in found])),
        "rows": len(rows),
    }


def _metric(name: str) -> Callable[..., list[float]]:
    module = registry.load("metrics", name)
    return module.build(module.Options(), Context())


def _copied(text: str, dialogue: str) -> float:
    """Share of a summary's word triples that stand in the dialogue."""
    own, theirs = (list(zip(w, w[1:], w[2:], strict=False)) for w in (words(text), words(dialogue)))
    return sum(triple in set(theirs) for triple in own) / max(1, len(own))


if __name__ == "__main__":
    options = arguments(__doc__, ROWS)
    run(options, ROWS, prepared(options.data, options.runs), measure, COLUMNS)
