"""The three products of training's linear layers by torch's library and by NumPy's, in float32 on the CPU: GFLOP/s.

    python benchmarks/products.py models/m30 [--rows 1024] [--rounds 3] [--repeats 8]
    python benchmarks/products.py models/m30 --sampling --rows 32

For each shape of the model the libraries run in turn, with one thread and with a thread a core that each make a product
of their own; the best round counts. `PENCHANT_GEMM` has no effect here. Nothing else should run.

`--sampling`: all matrices of the model one after the other, as a step of sampling reads them: as they lie, by our own
kernel (what sampling takes where there is one), laid out by oneDNN (what it takes elsewhere) and turned for NumPy;
medians, and whether a row's bits depend on how many rows go with it.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from penchant.bench.limits import shapes
from penchant.machine import cores
from penchant.models import frozen, gemm, kernels
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


def sampling(config: DecoderConfig, rows: int, threads: int, rounds: int, repeats: int) -> None:
    """Print a line for so many threads, each with `rows` rows of its own."""
    weights = [torch.randn(shape) for shape in shapes(config)]
    sides: dict[str, list[Callable[[Tensor], Tensor]]] = {
        "oneDNN": [functools.partial(_laid_out, torch.ops.mkldnn._reorder_linear_weight(w, 64)) for w in weights],
        "numpy": [functools.partial(_turned, w.T.contiguous()) for w in weights],
    }
    if kernels.takes(weights[0]):
        sides = {"our own": [frozen.Linear((w, None)) for w in weights], **sides}
    inputs = {w.shape[1]: torch.randn(max(140, rows), w.shape[1]) for w in weights}

    def step(side: str) -> None:
        for _ in range(repeats):
            for w, product in zip(weights, sides[side], strict=True):
                product(inputs[w.shape[1]][:rows])

    seconds: dict[str, list[float]] = {side: [] for side in sides}
    with ThreadPoolExecutor(threads, initializer=one_thread) as pool:
        for _ in range(rounds):
            for side in sides:
                start = time.perf_counter()
                list(pool.map(step, [side] * threads))
                seconds[side].append(time.perf_counter() - start)
    work = 2e-9 * sum(w.numel() for w in weights) * rows * repeats * threads
    found = []
    for side, products in sides.items():
        x, product = inputs[weights[0].shape[1]][:140], products[0]
        alike = all(torch.equal(product(x[:n]), product(x)[:n]) for n in range(2, len(x)))
        bits = "the same bits" if alike else "other bits"
        found.append(f"{side} {work / statistics.median(seconds[side]):.0f} ({bits} among other rows)")
    print(f"threads {threads}, {rows} rows each: {', '.join(found)}", flush=True)


def _laid_out(packed: Tensor, x: Tensor) -> Tensor:
    return frozen._multiply(x, packed, None)


def _turned(weight: Tensor, x: Tensor) -> Tensor:
    return gemm._numpy_product(x, weight)


def main() -> None:
    """Print a line a shape, product and number of threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--sampling", action="store_true")
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=8)
    a = parser.parse_args()
    keep_pages()
    gemm._one_thread()
    torch.set_num_threads(1)
    for threads in sorted({1, cores()}):
        if a.sampling:
            sampling(DecoderConfig.from_folder(a.model), a.rows, threads, a.rounds, a.repeats)
            continue
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
