"""What the machine itself can do at a model's shapes: matrix products in both formats, and memory bandwidth."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from penchant.models import gemm
from penchant.models.config import DecoderConfig
from penchant.models.frozen import Linear
from penchant.runtime.cards import on_cuda, wait_for
from penchant.runtime.device import one_thread

__all__ = ["ROWS", "apart_rate", "gemm_rate", "limits", "shapes"]

ROWS = 2048  # tokens of a training micro-batch
_SECONDS = 4.0  # no further round after so long: where bf16 is emulated one takes that long by itself


def shapes(config: DecoderConfig) -> list[tuple[int, int]]:
    """(out, in) of the products that a token goes through, one layer and the head."""
    c = config
    inner, group = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
    layer = [(inner + 2 * group, c.hidden_size), (c.hidden_size, inner)]
    layer += [(2 * c.intermediate_size, c.hidden_size), (c.hidden_size, c.intermediate_size)]
    return layer * c.num_hidden_layers + [(c.vocab_size, c.hidden_size)]


def gemm_rate(
    config: DecoderConfig, dtype: torch.dtype, rows: int = ROWS, rounds: int = 5, device: str = "cpu"
) -> float:
    """FLOP/s of the model's products on `rows` tokens with torch's threads: the best of some rounds a shape."""
    work, seconds = 0.0, 0.0
    made = shapes(config)
    for out, inside in sorted(set(made)):
        a, b = (torch.randn(n, inside, device=device).to(dtype) for n in (rows, out))

        def once(a: torch.Tensor = a, b: torch.Tensor = b) -> None:
            wait_for(device)
            torch.nn.functional.linear(a, b)
            wait_for(device)

        best = _best(once, rounds)
        count = made.count((out, inside))
        work, seconds = work + count * 2.0 * rows * out * inside, seconds + count * best
    return work / seconds


def _best(work: Callable[[], object], rounds: int) -> float:
    """The seconds of the best round after a first one that counts too."""
    best, spent = float("inf"), 0.0
    for _ in range(rounds + 1):
        start = time.perf_counter()
        work()
        seconds = time.perf_counter() - start
        best, spent = min(best, seconds), spent + seconds
        if spent > _SECONDS:
            break
    return best


def apart_rate(
    config: DecoderConfig, dtype: torch.dtype, threads: int, rows: int = ROWS, rounds: int = 5, sampling: bool = False
) -> float:
    """FLOP/s of the model's products in threads that each make their own of `rows` rows: the best round of all.

    By the library that training takes, or as sampling reads its matrices.
    """
    made = shapes(config)
    sides: dict[tuple[int, int], tuple[Callable[[torch.Tensor], torch.Tensor], torch.Tensor]] = {}
    for shape in set(made):
        weight, x = torch.randn(shape).to(dtype), torch.randn(rows, shape[1]).to(dtype)
        sides[shape] = (Linear((weight, None)) if sampling else functools.partial(gemm.linear, weight=weight)), x

    def once(_: int) -> None:
        for shape in made:
            product, x = sides[shape]
            product(x)

    with ThreadPoolExecutor(threads, initializer=one_thread) as pool:
        best = _best(lambda: list(pool.map(once, range(threads))), rounds)
    return threads * sum(2.0 * rows * out * inside for out, inside in made) / best


def bandwidth(megabytes: int = 256, rounds: int = 5, device: str = "cpu") -> float:
    """Bytes a second read from memory by a sum over a buffer larger than the caches."""
    data = torch.ones(megabytes * (1 << 20) // 4, device=device)
    return data.numel() * 4 / _best(lambda: data.sum().item(), rounds)


def limits(config: DecoderConfig, device: str = "cpu") -> dict[str, Any]:
    """Rates of this machine for a model, with one thread and with all (or of its card), in GFLOP/s and GB/s.

    Products are torch's, split over the threads, and (`apart`) a product a thread: those of training by the library
    that `models/gemm` takes, those of decoding as a lane of sampling makes them.
    """
    if on_cuda(device):
        rates = {f"training_bfloat16_gflop_s_{n}_rows": gemm_rate(config, torch.bfloat16, n, 20, device)
                 for n in (16_384, 65_536)}  # fmt: skip
        rates["bandwidth_gb_s"] = bandwidth(4096, device=device)
        return {name: round(rate / 1e9, 1) for name, rate in rates.items()}
    every = torch.get_num_threads()
    found: dict[str, Any] = {"threads": every}
    for threads in sorted({1, every}):
        torch.set_num_threads(threads)
        found[f"bandwidth_gb_s_{threads}"] = round(bandwidth() / 1e9, 1)
        for name, rows in (("training", ROWS), ("decoding", 64)):
            for dtype in (torch.bfloat16, torch.float32):
                key = f"{name}_{str(dtype).removeprefix('torch.')}_gflop_s_{threads}"
                found[key] = round(gemm_rate(config, dtype, rows) / 1e9, 1)
                sampling = name == "decoding"
                each = max(1, rows // threads) if sampling else rows
                found[f"{key}_apart"] = round(apart_rate(config, dtype, threads, each, sampling=sampling) / 1e9, 1)
    torch.set_num_threads(every)
    return found
