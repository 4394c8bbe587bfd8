"""Matrix products of training on a CPU, by the faster of two libraries that are there anyway: torch's and NumPy's.

torch's wheels bring MKL, which is slower in float32 on AMD's processors without AVX512 than the OpenBLAS of NumPy's
wheels (docs/performance.md). Which one is used follows from the processor and from what NumPy was built with, not from
a measurement, so that a resume never changes bits; `PENCHANT_GEMM` as `torch` or `numpy` settles it.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from penchant.errors import InputError
from penchant.runtime import processor

__all__ = ["linear", "matmul", "reason"]

_LEAST = 1 << 20  # multiplications: below that a call costs more than it saves


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W' + b: [T, in], [out, in], [out] -> [T, out]; no gradient goes through it."""
    if not _by_numpy(x, weight.T):
        return F.linear(x, weight, bias)
    out = _numpy_product(x, weight.T)
    return out if bias is None else out.add_(bias)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """[m, k] @ [k, n] -> [m, n], either of them laid out by rows or by columns; no gradient goes through it."""
    return _numpy_product(a, b) if _by_numpy(a, b) else a @ b


def reason() -> str:
    """Which library makes float32 products on the CPU, and why."""
    return _choice()[1]


@functools.cache
def _choice() -> tuple[bool, str]:
    """Whether NumPy's products are taken, and why (not)."""
    asked = os.environ.get("PENCHANT_GEMM", "")
    if asked not in ("", "torch", "numpy"):
        raise InputError(f"PENCHANT_GEMM is {asked!r}", "set it to torch or numpy, or unset it")
    if asked:
        return asked == "numpy", f"{asked}, as PENCHANT_GEMM says"
    if not processor.amd_without_avx512():
        return False, "torch"
    if not torch.backends.mkl.is_available() or "openblas" not in _blas():
        return False, f"torch (NumPy's library is {_blas() or 'unknown'})"
    return True, "NumPy's OpenBLAS (faster than torch's MKL on AMD processors without AVX512)"


def _blas() -> str:
    built: Any = np.show_config(mode="dicts")
    return str(built.get("Build Dependencies", {}).get("blas", {}).get("name", "")).lower()


def _by_numpy(a: Tensor, b: Tensor) -> bool:
    """One thread at a time only: OpenBLAS's own threads and those of torch would wait for each other."""
    if a.dtype is not torch.float32 or b.dtype is not torch.float32 or a.is_cuda or torch.get_num_threads() > 1:
        return False
    large = a.shape[0] * a.shape[1] * b.shape[1] >= _LEAST
    return large and _choice()[0] and _dense(a) and _dense(b) and _one_thread()


def _dense(x: Tensor) -> bool:
    """Whether a product reads it as it lies (else NumPy would multiply without its library)."""
    rows, columns = x.stride()
    return (columns == 1 and rows >= x.shape[1]) or (rows == 1 and columns >= x.shape[0])


@functools.cache
def _one_thread() -> bool:
    from threadpoolctl import ThreadpoolController

    ThreadpoolController().select(internal_api="openblas").limit(limits=1)  # of this process, from now on
    return True


def _numpy_product(a: Tensor, b: Tensor) -> Tensor:
    out = a.new_empty(a.shape[0], b.shape[1])
    np.matmul(a.detach().numpy(), b.detach().numpy(), out=out.numpy())
    return out
