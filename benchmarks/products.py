"""The three products of training's linear layers by torch's library and by NumPy's, in float32 on the CPU: GFLOP/s.

    python benchmarks/products.py models/m30 [--rows 1024] [--rounds 3] [--repeats 8]

For each shape of the model the libraries run in turn, with one thread and with a thread a core that each make a product
of their own; the best round counts. `PENCHANT_GEMM` has no effect here. Nothing else should run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from penchant.bench.limits import shapes
from penchant.machine import cores
from penchant.models import gemm
from penchant.models.config import DecoderConfig
from penchant.runtime.device import one_thread
from penchant.runtime.memory import keep_pages

Product = Callable[[Tensor, Tensor], Tensor]
LIBRARIES: dict[str, Product] = {"torch": torch.mm, "numpy": gemm._numpy_product}


def sides(rows: int, out: int, inside: int) -> dict[str, tuple[Tensor, Tensor]]:
    """What is multiplied: in the forward, for the input's gradient and for the weight's."""
    x, weight, d = torch.randn(rows, inside), torch.randn(out, inside), torch.randn(rows, out)
    return {"x @ W'": (x, weight.T), "d @ W": (d, weight), "d' @ x": (d.T, x)}


def rate(pool: ThreadPoolExecutor, threads: int, product: Product, pairs: list[tuple[Tensor, Tensor]], n: int) -> float:
    """FLOP/s of all threads, each with a pair of its own."""
    a, b = pairs[0]

    def one(pair: tuple[Tensor, Tensor]) -> None:
        for _ in range(n):
            product(*pair)

    start = time.perf_counter()
    list(pool.map(one, pairs[:threads]))
    return 2.0 * a.shape[0] * a.shape[1] * b.shape[1] * n * threads / (time.perf_counter() - start)


def main() -> None:
    """Print a line a shape, product and number of threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=8)
    a = parser.parse_args()
    keep_pages()
    gemm._one_thread()
    for threads in sorted({1, cores()}):
        with ThreadPoolExecutor(threads, initializer=one_thread) as pool:
            for out, inside in sorted(set(shapes(DecoderConfig.from_folder(a.model)))):
                made = [sides(a.rows, out, inside) for _ in range(threads)]
                for name in made[0]:
                    pairs = [one[name] for one in made]
                    best = dict.fromkeys(LIBRARIES, 0.0)
                    for _ in range(a.rounds):
                        for library, product in LIBRARIES.items():
                            best[library] = max(best[library], rate(pool, threads, product, pairs, a.repeats))
                    found = ", ".join(f"{library} {r / 1e9:.0f}" for library, r in best.items())
                    print(f"threads {threads}, {out} x {inside}, {name}: {found}", flush=True)


if __name__ == "__main__":
    main()
