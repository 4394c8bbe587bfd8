"""Where the time of sampling goes: shares of the lanes' seconds, and the rate of their products.

    python benchmarks/shares.py models/m30 [--steps 4] [--dtype float32]

The work of `penchant bench generate`, each part timed in its lane; the first step is dropped. What is timed takes a
few microseconds a call more than it would alone. Nothing else should run.
"""

from __future__ import annotations

import argparse
import functools
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from penchant.bench import works
from penchant.machine import cores
from penchant.models import frozen, kernels
from penchant.runtime.memory import keep_pages
from penchant.sampling import board, cache, lane

Count = Counter[str]


def timed(part: str, call: Callable[..., Any], seconds: Count, lock: threading.Lock) -> Callable[..., Any]:
    """The same call, its seconds added to those of its part."""

    @functools.wraps(call)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        found = call(*args, **kwargs)
        with lock:
            seconds[part] += time.perf_counter() - start
        return found

    return wrapped


def watch(seconds: Count, work: Count) -> None:
    """Time the parts from now on; `work` counts the products' operations."""
    lock = threading.Lock()
    product, mix, prompts = frozen.Linear.__call__, cache.Cache.mix, cache.Prompts._mix

    def counted(self: frozen.Linear, x: torch.Tensor) -> torch.Tensor:
        found = product(self, x)
        with lock:
            work["products"] += 2 * x.shape[1] * found.numel()
        return found

    frozen.Linear.__call__ = timed("products", counted, seconds, lock)
    cache.Cache.mix = lambda self, places: timed("attention", mix(self, places), seconds, lock)
    cache.Prompts._mix = timed("attention", prompts, seconds, lock)
    for name in ("norm", "swiglu"):
        setattr(kernels, name, timed("norms and SwiGLU", getattr(kernels, name), seconds, lock))
    board.Board.take = timed("drawing tokens", board.Board.take, seconds, lock)
    lane.Lane.run = timed("all", lane.Lane.run, seconds, lock)


def main() -> None:
    """Print a line a part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="float32")
    a = parser.parse_args()
    keep_pages()
    torch.set_num_threads(cores())
    bench = works.Bench.of(a.model, getattr(torch, a.dtype), a.steps, 8, cores())
    seconds, work = Counter[str](), Counter[str]()
    works.sample(replace(bench, steps=1))
    watch(seconds, work)
    works.sample(replace(bench, steps=a.steps - 1))
    whole = seconds.pop("all")
    seconds["the rest"] = whole - seconds.total()
    for part, spent in seconds.most_common():
        rate = f", {work[part] / spent / 1e9:.0f} GFLOP/s a lane" if part in work else ""
        print(f"{part}: {spent / whole:.0%}{rate}")


if __name__ == "__main__":
    main()
