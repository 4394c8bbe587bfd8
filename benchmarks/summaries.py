"""A real model sums dialogues up: base, SFT, then GRPO on ROUGE-L with a bound on length, and what it does to the rest.

    python benchmarks/smollm2.py models/smollm2
    python benchmarks/summaries.py models/smollm2 --data $PENCHANT_DATA/summarization --runs runs/summaries

DialogSum: train and validation are cut from its dev file (500 dialogues), the test is 300 of its test dialogues with
three references each. ROUGE-L is what is optimised; chrF, BLEU, the share of word triples copied from the dialogue, the
length against the references', and distinct word pairs are not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from _real import Measured, Row, arguments, interval, read_gzip, run, split_rows
from penchant.contracts import Context
from penchant.data.examples import read_examples
from penchant.metrics.distinct import distinct, ngrams, words
from penchant.models.load import load_model, load_tokenizer
from penchant.plugins import plug
from penchant.runtime.device import device_name
from penchant.runtime.precision import resolve_dtype
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
METRICS = ("ROUGE", "chrF", "BLEU")  # ROUGE: ROUGE-L
COLUMNS = (*METRICS, "copied", "length ratio", "distinct-2", "cut")


def prepared(data: Path, runs: Path) -> Path:
    """Dialogues with their summaries; `answer` holds all references."""
    files = {"train": read_gzip(data / "dialogsum_dev.jsonl.gz"), "test": read_gzip(data / "dialogsum_3refs.jsonl.gz")}
    parts = {
        part: [
            {"prompt": ASK.format_map(row), "completion": row["summaries"][0], "answer": row["summaries"]}
            for row in rows
        ]
        for part, rows in files.items()
    }
    return split_rows(runs, parts, fractions=(0.88, 0.12, 0.0))


def measure(folder: Path, start: Path, a: argparse.Namespace, name: str) -> Measured:
    """Greedy summaries of the split against their references, by the best of them."""
    tokenizer, device = load_tokenizer(folder), device_name(a.device)
    model, template = load_model(folder, resolve_dtype("auto", device), device), Template(tokenizer)
    rows = read_examples(a.runs / "data" / f"{a.split}.parquet")
    prompts = [template.prompt_ids(row.columns["prompt"]) for row in rows]
    found = generate(model, prompts, temperature=0.0, max_new_tokens=NEW, end=[tokenizer.eos_id])
    texts = [tokenizer.decode(list(s.ids)).strip() for s in found]
    references = [[str(x) for x in row.columns["answer"]] for row in rows]
    items = {label: plug("metrics", {"name": label.lower()}, Context())(texts, references) for label in METRICS}
    clusters = [[row.source for row in rows]]
    wanted = [np.mean([len(words(r)) for r in own]) for own in references]
    triples = [ngrams(text, 3) for text in texts]
    theirs = [set(ngrams(row.columns["prompt"][-1]["content"], 3)) for row in rows]
    copied = [sum(triple in known for triple in own) for own, known in zip(triples, theirs, strict=True)]
    return {
        **{label: interval(values, clusters) for label, values in items.items()},
        "copied": interval(copied, clusters, [len(own) for own in triples]),
        "length ratio": interval([len(words(text)) for text in texts], clusters, wanted),
        "distinct-2": distinct(texts, size=3000).value,
        "cut": float(np.mean([s.stop == "length" for s in found])),
        "rows": len(rows),
        "items": items,
        "clusters": clusters,
        "texts": texts,
    }


if __name__ == "__main__":
    options = arguments(__doc__, ROWS)
    run(options, ROWS, prepared(options.data, options.runs), measure, COLUMNS, METRICS)
