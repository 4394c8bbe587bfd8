"""The other side of `penchant bench`: the same work in transformers and TRL, timed step by step.

    python benchmarks/peer.py generate|grpo|dpo|sft MODEL_DIR [--dtype bfloat16] [--steps 4]

Needs `pip install trl datasets` (any environment; `benchmarks/compare.py` takes another interpreter for it). Prints the
JSON line that `penchant bench WORK MODEL_DIR --json` prints; the first step warms up and is dropped.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

NEW, PROMPTS, GROUP, ROWS, CONTEXT = 64, 8, 8, 64, 256
PAIRS, PAIR = 32, 512  # pairs a step, tokens of a prompt and an answer at most


class Steps(TrainerCallback):
    """Seconds of each optimizer step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.began = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.seconds.append(time.perf_counter() - self.began)


def settings(a: argparse.Namespace, folder: str) -> dict[str, Any]:
    """What every trainer is told; a batch is that of `sft` and `grpo`."""
    return {
        "output_dir": folder, "max_steps": a.steps, "logging_steps": 1, "report_to": [], "save_strategy": "no",
        "use_cpu": True, "bf16": a.dtype == "bfloat16", "gradient_checkpointing": False, "learning_rate": 1e-4,
        "disable_tqdm": True, "model_init_kwargs": {"dtype": a.dtype}, "per_device_train_batch_size": ROWS,
    }  # fmt: skip


def generate(a: argparse.Namespace, tokenizer: Any, lines: list[str], folder: str) -> tuple[list[float], int]:
    """64 prompts, 64 new tokens each, sampled, no early stop."""
    model = AutoModelForCausalLM.from_pretrained(a.model, dtype=getattr(torch, a.dtype)).eval()
    tokenizer.padding_side = "left"
    chosen = [line for line in lines if 20 < len(line) < 60][:64]
    batch = tokenizer(chosen, return_tensors="pt", padding=True, add_special_tokens=False)
    batch.pop("token_type_ids", None)
    seconds = []
    for _ in range(a.steps):
        began = time.perf_counter()
        with torch.no_grad():
            model.generate(**batch, do_sample=True, min_new_tokens=NEW, max_new_tokens=NEW)
        seconds.append(time.perf_counter() - began)
    return seconds, 64 * NEW


def grpo(a: argparse.Namespace, tokenizer: Any, lines: list[str], folder: str) -> tuple[list[float], int]:
    """8 prompts x 8 samples x 64 new tokens, one update a batch, no KL."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    def share_of_e(completions: list[str], **_: Any) -> list[float]:
        return [text.count("e") / max(1, len(text)) for text in completions]

    timer = Steps()
    chosen = [line for line in lines if 20 < len(line) < 60][:512]
    config = GRPOConfig(
        num_generations=GROUP, max_completion_length=NEW, generation_kwargs={"min_new_tokens": NEW},
        **settings(a, folder),
    )  # fmt: skip
    data = Dataset.from_dict({"prompt": chosen})
    GRPOTrainer(a.model, share_of_e, config, data, processing_class=tokenizer, callbacks=[timer]).train()
    return timer.seconds, PROMPTS * GROUP * NEW


def stretches(lines: list[str], count: int, words: int = 90) -> list[str]:
    """So many texts of so many words, one after the other."""
    flat = " ".join(lines).split()
    return [" ".join(flat[i * words : (i + 1) * words]) for i in range(count)]


def dpo(a: argparse.Namespace, tokenizer: Any, lines: list[str], folder: str) -> tuple[list[float], int]:
    """32 pairs of 90 words each after 90, the reference's log-probs in the step, one update a batch."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    timer = Steps()
    texts = stretches(lines, 3 * 256)
    config = DPOConfig(max_length=PAIR, **settings(a, folder) | {"per_device_train_batch_size": PAIRS})
    data = Dataset.from_dict({"prompt": texts[0::3], "chosen": texts[1::3], "rejected": texts[2::3]})
    DPOTrainer(a.model, args=config, train_dataset=data, processing_class=tokenizer, callbacks=[timer]).train()
    return timer.seconds, sum(len(ids) for ids in tokenizer(texts[: 3 * PAIRS])["input_ids"])


def sft(a: argparse.Namespace, tokenizer: Any, lines: list[str], folder: str) -> tuple[list[float], int]:
    """64 rows of 256 tokens of plain text, packed, one update a batch."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    timer = Steps()
    data = Dataset.from_dict({"text": stretches(lines, 2000)})
    config = SFTConfig(max_length=CONTEXT, packing=True, packing_strategy="wrapped", **settings(a, folder))
    SFTTrainer(a.model, config, train_dataset=data, processing_class=tokenizer, callbacks=[timer]).train()
    return timer.seconds, ROWS * CONTEXT


def main() -> None:
    """Do one work and print its line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=["generate", "grpo", "dpo", "sft"])
    parser.add_argument("model")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--steps", type=int, default=4)
    a = parser.parse_args()
    torch.manual_seed(0)
    lines = (Path(a.model) / "bench_lines.txt").read_text(encoding="utf-8").splitlines()
    with tempfile.TemporaryDirectory() as folder:
        seconds, tokens = globals()[a.work](a, AutoTokenizer.from_pretrained(a.model), lines, folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "linux" else 1 << 20)
    row = {"work": a.work, "peer": "trl", "model": Path(a.model).name, "dtype": a.dtype}
    print(json.dumps(row | {"seconds": [round(s, 3) for s in seconds[1:]], "tokens": tokens, "peak_rss_mb": peak}))


if __name__ == "__main__":
    main()
