"""The elementwise passes of a decoder: one sweep over memory each where `kernels.cpp` compiles, PyTorch where not.

Both sides (`models/plain` is the other one) compute in float32 and round once to the tensors' own format; tests hold
them to each other. A kernel runs in one thread: training splits rows over threads instead. One product is here too,
that of sampling in float32 (`rows_linear`), for processors with AVX2 alone.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from penchant.models import plain
from penchant.runtime import cards, native

__all__ = [
    "Seen", "causal_softmax", "causal_softmax_backward", "gather_heads", "log_probs", "log_probs_backward", "norm",
    "norm_backward", "place_heads", "reason", "rows_linear", "swiglu", "swiglu_backward", "takes",
]  # fmt: skip

_NUMBER = {torch.float32: "NUMBER=float", torch.bfloat16: "NUMBER=bf16"}
_KIND: dict[type, Any] = {int: ctypes.c_int64, float: ctypes.c_float}  # else a tensor, or none
_SOURCE = Path(__file__).with_name("kernels.cpp")
_A_THREAD = 1 << 18  # numbers of a matrix, for eight rows: less does not pay for a thread

Places = tuple[Tensor | None, Tensor]
Angles = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Seen:
    """Which keys a query sees: those up to its own.

    Attributes:
        first: the key at which query 0 stands; query i stands at first + i // group.
        group: queries that stand at the same key.
        window: how many keys up to its own a query sees; 0 for all.
        start: int64 [S], the first key that a row has, `groups` matrices a row; None where all have them all.
    """

    first: int
    group: int
    window: int = 0
    start: Tensor | None = None
    groups: int = 1

    def mask(self, queries: int, keys: int, device: torch.device) -> Tensor:
        """bool [n or 1, queries, keys]; a query always sees its own key."""
        at = self.first + torch.arange(queries, device=device)[:, None] // self.group
        key = torch.arange(keys, device=device)
        visible = ((key <= at) & ((at - key < self.window) if self.window else True))[None]
        if self.start is None:
            return visible
        start = self.start.repeat_interleave(self.groups)[:, None, None]
        return visible & ((key >= start) | (key == at))


def reason() -> str:
    """Whether the compiled kernels are used here, and why (not)."""
    library, why = native.build(_SOURCE, _NUMBER[torch.float32])
    told = ("compiled kernels: " if library else "PyTorch's own kernels: ") + why
    if hasattr(library, "rows_linear"):
        told += "; sampling's products in float32 too"
    if not cards.available():
        return told
    return f"{told}; on CUDA: " + (cards.no_compiler() or "compiled by torch.compile")


def _native(name: str, x: Tensor) -> Callable[..., None] | None:
    """The compiled function for tensors like x; None where there is none."""
    return _function(name, x.dtype) if x.device.type == "cpu" and x.dtype in _NUMBER else None


@functools.cache
def _function(name: str, kind: torch.dtype) -> Callable[..., None] | None:
    library, _ = native.build(_SOURCE, _NUMBER[kind])
    return None if library is None or not hasattr(library, name) else _Call(library[name])


class _Call:
    """Hands tensors over as pointers, ints as int64 and floats as float; the first call settles which is which."""

    def __init__(self, function: Any):
        self.function = function

    def __call__(self, *values: Tensor | int | float | None) -> None:
        if self.function.argtypes is None:
            self.function.argtypes = [_KIND.get(type(value), ctypes.c_void_p) for value in values]
        self.function(*[value.data_ptr() if isinstance(value, Tensor) else value for value in values])


def norm(x: Tensor, add: Tensor | None, gain: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """RMSNorm (Zhang & Sennrich 2019) of x + add.

    Args:
        x, add: [T, width], contiguous; gain: [width].

    Returns:
        The sum (x itself without `add`), the normed [T, width], and 1 / rms, float32 [T].
    """
    if call := _native("norm", x):
        total, out = x if add is None else torch.empty_like(x), torch.empty_like(x)
        inverse = torch.empty(len(x), dtype=torch.float32)
        call(x, add, gain, total, out, inverse, len(x), x.shape[-1], float(eps))
        return total, out, inverse
    total, out, inverse = plain.norm(x, add, gain, eps)
    return (x if add is None else total), out, inverse


def norm_backward(
    d_out: Tensor, d_total: Tensor | None, total: Tensor, gain: Tensor, inverse: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of `norm`: of the sum [T, width] (d_total, its own gradient, added) and of the gain [width]."""
    if call := _native("norm_backward", total):
        d_sum, d_gain = torch.empty_like(total), torch.zeros(total.shape[-1], dtype=torch.float32)
        call(d_out, d_total, total, gain, inverse, d_sum, d_gain, len(total), total.shape[-1])
        return d_sum, d_gain.to(gain.dtype)
    return plain.norm_backward(d_out, d_total, total, gain, inverse)


def place_heads(flat: Tensor, rows: Tensor, at: Places, angles: Angles | None, scale: float = 1.0) -> None:
    """Write heads of flat tokens to their places in padded rows, turned by RoPE and scaled where angles are given.

    Args:
        flat: [T, heads * width], its last dimension contiguous.
        rows: [S, heads / group, L, group, width], contiguous; places that no token fills keep what they hold.
        at: which token goes where: int64 [n] (None: all in order), and s * L + l of each, int64 [n].
        angles: cosine and sine of each token, float32 [T, width / 2].
    """
    _, groups, length, group, width = rows.shape
    token, place = at
    cos, sin = angles or (None, None)
    if call := _native("place_heads", flat):
        sizes = len(place), flat.stride(0), groups * group, group, length, width
        call(flat, rows, cos, sin, token, place, *sizes, float(scale), 0)
        return
    heads = (flat if token is None else flat[token]).reshape(len(place), groups, group, width)
    if cos is not None and sin is not None:
        c, s = ((x if token is None else x[token])[:, None, None] for x in (cos, sin))
        heads = plain.turn(heads, c, s, scale)
    rows[place // length, :, place % length] = heads


def gather_heads(rows: Tensor, flat: Tensor, at: Places, angles: Angles | None, scale: float = 1.0) -> None:
    """The transpose of `place_heads`: read rows back into `flat`, turned the other way; each token stands once."""
    _, groups, length, group, width = rows.shape
    token, place = at
    cos, sin = angles or (None, None)
    if call := _native("place_heads", flat):
        sizes = len(place), flat.stride(0), groups * group, group, length, width
        call(flat, rows, cos, sin, token, place, *sizes, float(scale), 1)
        return
    heads = rows[place // length, :, place % length]
    if cos is not None and sin is not None:
        c, s = ((x if token is None else x[token])[:, None, None] for x in (cos, sin))
        heads = plain.turn(heads, c, -s, scale)
    found = heads.reshape(len(place), -1).to(flat.dtype)
    if token is None:
        flat.copy_(found)
    else:
        flat[token] = found


def causal_softmax(scores: Tensor, seen: Seen) -> None:
    """Softmax in place of scores [n, queries, keys]; what a query does not see becomes 0."""
    n, queries, keys = scores.shape
    if call := _native("causal_softmax", scores):
        call(scores, n, queries, keys, seen.first, seen.group, seen.window, seen.start, seen.groups)
        return
    visible = seen.mask(queries, keys, scores.device)
    scores.copy_(torch.softmax(scores.masked_fill(~visible, float("-inf")), dim=-1, dtype=torch.float32))


def causal_softmax_backward(weights: Tensor, d: Tensor, seen: Seen) -> None:
    """The scores' gradient, in place of the weights' gradient d: w * (d - sum(w * d))."""
    n, queries, keys = weights.shape
    if call := _native("causal_softmax_backward", weights):
        call(weights, d, n, queries, keys, seen.first, seen.group, seen.window, seen.start, seen.groups)
        return
    w, wide = weights.float(), d.float()
    d.copy_(w * (wide - (w * wide).sum(-1, keepdim=True)))


def swiglu(both: Tensor) -> Tensor:
    """silu(gate) * up (Shazeer 2020) of [T, 2 * width], the two side by side."""
    rows, width = len(both), both.shape[-1] // 2
    if call := _native("swiglu", both):
        out = both.new_empty(rows, width)
        call(both, out, rows, width)
        return out
    return plain.swiglu(both)


def swiglu_backward(d_out: Tensor, both: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of `swiglu` [T, 2 * width], and what it gave [T, width], made on the way."""
    rows, width = len(both), both.shape[-1] // 2
    if call := _native("swiglu_backward", both):
        d_both, out = torch.empty_like(both), both.new_empty(rows, width)
        call(d_out, both, d_both, out, rows, width)
        return d_both, out
    return plain.swiglu_backward(d_out, both)


def log_probs(logits: Tensor, labels: Tensor, temperature: float, out: tuple[Tensor, Tensor, Tensor | None]) -> None:
    """Of logits [N, vocabulary] / temperature, written to float32 [N] each: log p(label), the log of the sum of
    exponentials, and the entropy (nats; None where nobody asks).
    """
    logprob, total, entropy = out
    if call := _native("log_probs", logits):
        call(logits, labels, 1.0 / temperature, logprob, total, entropy, len(logits), logits.shape[-1])
        return
    for place, found in zip(out, plain.log_probs(logits, labels, 1.0 / temperature, entropy is not None), strict=True):
        if place is not None and found is not None:
            place.copy_(found)


def log_probs_backward(
    logits: Tensor,
    labels: Tensor,
    temperature: float,
    saved: tuple[Tensor, Tensor | None],
    grads: tuple[Tensor, Tensor | None],
) -> None:
    """The logits' gradient, in place of the logits.

    d log p(label) = onehot - p and dH = -p (log p + H), both over the temperature.

    Args:
        saved: the log of the sum and the entropy, as `log_probs` gave them.
        grads: of the log-prob and the entropy, float32 [N].
    """
    (total, entropy), (d_logprob, d_entropy) = saved, grads
    if call := _native("log_probs_backward", logits):
        rows, width = logits.shape
        call(logits, labels, 1.0 / temperature, total, entropy, d_logprob, d_entropy, rows, width)
        return
    logits.copy_(plain.log_probs_backward(logits, labels, 1.0 / temperature, saved, grads))


def takes(weight: Tensor) -> bool:
    """Whether `rows_linear` multiplies by this matrix [out, in] here, as it lies."""
    out, inside = weight.shape
    fits = weight.dtype is torch.float32 and weight.is_contiguous() and inside % 8 == 0 and out >= 3
    return fits and _native("rows_linear", weight) is not None


def rows_linear(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """x W' of float32 x [N, in] for matrices [out, in] that it `takes`, side by side: [N, sum of out].

    A row's bits depend on no other row and on no number of threads: each sum is made in an order of its own.
    """
    call, rows, total = _native("rows_linear", x), len(x), sum(len(weight) for weight in weights)
    if call is None:
        raise RuntimeError("the kernel of this product is gone")
    y, x, at = x.new_empty(rows, total), x.contiguous(), 0
    for weight in weights:
        threads = max(1, min(torch.get_num_threads(), weight.numel() * -(-rows // 8) // _A_THREAD))
        call(x, weight, y[:, at:], rows, x.shape[1], len(weight), total, threads)
        at += len(weight)
    return y
