"""One training step and one batch of rollouts of the quickstart's model, beside transformers' Llama on the same work.

    python benchmarks/step.py [--threads 1] [--rounds 5]

The sides run in turn, so that a drift of the machine hits both; medians are printed as JSON, with the share of the
machine's own bf16 matrix-product rate (6 x parameters x tokens / seconds). Look at the load of the machine first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from penchant.data.pack import next_token_batch
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.load import save_model
from penchant.models.quantities import quantities
from penchant.runtime.memory import keep_pages
from penchant.runtime.precision import measure, resolve_dtype
from penchant.sampling.engine import generate
from penchant.training.optimizer import Optimizer, OptimizerOptions

ROWS, CONTEXT, PROMPTS, PROMPT, NEW = 16, 128, 128, 80, 96


def ours(model: Decoder, rows: np.ndarray) -> Callable[[], None]:
    """A step as the loop makes it: forward, backward, Muon and AdamW."""
    optimizer = Optimizer(model, OptimizerOptions(), 1000)
    batch = next_token_batch(list(rows))

    def step() -> None:
        logprobs = quantities(model, batch, ("logprobs",), uniform=True)["logprobs"]
        (-logprobs.mean()).backward()
        optimizer.step(10, optimizer.gradients())

    return step


def theirs(model: torch.nn.Module, rows: np.ndarray) -> Callable[[], None]:
    """A step of transformers' model with torch's fused AdamW, bf16 weights."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    ids = torch.from_numpy(rows)

    def step() -> None:
        model(ids[:, :-1], labels=ids[:, :-1]).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def timed(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median seconds of each side, run in turn after one warm-up each."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, call in sides.items():
            start = time.perf_counter()
            call()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    a = parser.parse_args()
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(a.threads)
    keep_pages()
    dtype = resolve_dtype("auto")
    model = Decoder(DecoderConfig(vocab_size=2048, bos_token_id=0, eos_token_id=0, pad_token_id=1)).initialise(0)
    with tempfile.TemporaryDirectory() as folder:
        save_model(model, Path(folder))
        peer = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    model = model.to(dtype)
    rng = np.random.default_rng(0)
    rows = rng.integers(2, 2048, (ROWS, CONTEXT + 1))
    step = timed({"penchant": ours(model, rows), "transformers": theirs(peer, rows)}, a.rounds)
    prompts = rng.integers(2, 2048, (PROMPTS, PROMPT))
    ids = torch.from_numpy(prompts)
    fixed = {"do_sample": True, "min_new_tokens": NEW, "max_new_tokens": NEW, "top_k": 0}
    sample = timed(
        {
            "penchant": lambda: generate(model, prompts.tolist(), max_new_tokens=NEW),
            "transformers": lambda: peer.generate(ids, attention_mask=torch.ones_like(ids), **fixed),
        },
        max(1, a.rounds // 2),
    )
    limit = (measure().bf16 if dtype == torch.bfloat16 else measure().fp32) * 1e9 * a.threads
    work = 6 * model.config.parameters() * ROWS * CONTEXT
    found = {
        "threads": a.threads,
        "dtype": str(dtype).removeprefix("torch."),
        "step_seconds": step,
        "step_ratio": step["transformers"] / step["penchant"],
        "step_share_of_gemm_limit": work / step["penchant"] / limit,
        "sample_seconds": sample,
        "sample_ratio": sample["transformers"] / sample["penchant"],
    }
    print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in found.items()}))


if __name__ == "__main__":
    main()
