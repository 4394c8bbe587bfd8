"""What the memory of training is at its highest: in use, held by malloc besides, and the rest of the process.

    python benchmarks/memory.py models/m30 [--rows 16] [--micro-batch-size 4] [--dtype float32] [--trim]

The work of `penchant bench sft`, two steps, watched through glibc's mallinfo2 every hundredth of a second. `--trim`
gives back after each step what malloc holds and nobody uses. One line of JSON, in MB.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import threading
import time
from pathlib import Path

import torch

from penchant.bench import works
from penchant.machine import cores
from penchant.runtime.memory import keep_pages
from penchant.training.optimizer import Optimizer

FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


class Info(ctypes.Structure):
    """`struct mallinfo2` of malloc.h."""

    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS.split()]


def main() -> None:
    """Print the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--micro-batch-size", type=int)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="float32")
    parser.add_argument("--trim", action="store_true")
    a = parser.parse_args()
    keep_pages()
    torch.set_num_threads(cores())
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = Info
    page = os.sysconf("SC_PAGE_SIZE")
    found: list[dict[str, float]] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            info = libc.mallinfo2()
            whole = int(Path("/proc/self/statm").read_text().split()[1]) * page
            seen = {"in_use": info.uordblks + info.hblkhd, "held": info.arena + info.hblkhd, "process": whole}
            found.append({name: round(value / 1e6) for name, value in seen.items()})
            time.sleep(0.01)

    step = Optimizer.step

    def trimmed(self, *given):
        rate = step(self, *given)
        libc.malloc_trim(0)
        return rate

    if a.trim:
        Optimizer.step = trimmed
    bench = works.Bench.of(a.model, getattr(torch, a.dtype), 2, a.micro_batch_size, cores(), rows=a.rows)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        works.sft(bench)
    finally:
        ended.set()
        watcher.join()
    top = max(found, key=lambda seen: seen["in_use"])
    told = {"in_use": top["in_use"], "held_then": top["held"], "process_then": top["process"]}
    print(json.dumps({**told, "process_at_most": max(seen["process"] for seen in found)}))


if __name__ == "__main__":
    main()
