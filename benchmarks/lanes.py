"""Sampling by one thread, by two lanes of one thread each, and by one lane with all intra-op threads: seconds a step.

    python benchmarks/lanes.py models/m30 [--rounds 2] [--steps 4] [--dtype bfloat16]

The work of `penchant bench generate`, the ways in turn; the first step of each is dropped. Nothing else should run.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch

from penchant.bench import works
from penchant.machine import cores
from penchant.runtime.memory import keep_pages
from penchant.sampling import engine


def main() -> None:
    """Print a line a way and round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    a = parser.parse_args()
    keep_pages()
    of_threads = engine._lane_count
    for _ in range(a.rounds):
        for name, threads, lanes in (
            ("one thread", 1, of_threads),
            (f"{cores()} lanes", cores(), of_threads),
            (f"one lane, {cores()} threads", cores(), lambda model, rows: 1),
        ):
            engine._lane_count = lanes
            torch.set_num_threads(threads)
            bench = works.Bench.of(a.model, getattr(torch, a.dtype), a.steps, 8, threads)
            print(f"{name}: {statistics.median(works.run('generate', bench)['seconds']):.3f}", flush=True)


if __name__ == "__main__":
    main()
