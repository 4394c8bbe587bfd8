"""What objectives ask for, computed from hidden states in chunks: [tokens, vocabulary] never exists.

Memory does not grow with the vocabulary: a chunk's logits become its log-probs and, in place, its gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from penchant.data.pack import next_token_batch
from penchant.models import gemm, kernels
from penchant.models.decoder import Decoder
from penchant.models.heads import head_output
from penchant.records import Batch
from penchant.runtime.cards import on_cuda

__all__ = ["drawn", "quantities", "sequence_logprobs", "tensors"]

LOGITS = 1 << 24  # so many logits are made at once
MORE = 8  # and so many times more on CUDA, which small products do not fill
HEADS = {"values": "value", "score": "score"}  # quantity -> the head that gives it


def _logits(hidden: Tensor, head: Tensor, bias: Tensor | None, banned: Sequence[int]) -> Tensor:
    logits = gemm.linear(hidden, head, bias)
    if banned:
        logits[:, list(banned)] = float("-inf")
    return logits


class _LogProbs(torch.autograd.Function):
    """log p(label) and the entropy of p for each hidden state.

    Where every label will weigh the same (`uniform`), the gradients are made in the forward, from logits that are there
    anyway, and only scaled in the backward; else the backward makes the logits again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,  # [N, hidden]
        head: Tensor,  # [vocabulary, hidden]
        bias: Tensor | None,  # [vocabulary]
        labels: Tensor,  # [N]
        policy: tuple[float, Sequence[int]],  # temperature, banned tokens
        entropy: bool,
        uniform: bool,
    ) -> tuple[Tensor, Tensor | None]:
        logprobs = torch.empty(len(labels), dtype=torch.float32, device=hidden.device)
        total, entropies = torch.empty_like(logprobs), torch.empty_like(logprobs) if entropy else None
        early = _Gradients(ctx, hidden, head, bias) if uniform and not entropy and any(ctx.needs_input_grad) else None
        ones = torch.ones_like(logprobs) if early else None
        for part in _chunks(len(labels), len(head), hidden.device):
            logits = _logits(hidden[part], head, bias, policy[1])
            out = (logprobs[part], total[part], None if entropies is None else entropies[part])
            kernels.log_probs(logits, labels[part], policy[0], out)
            if early and ones is not None:
                kernels.log_probs_backward(logits, labels[part], policy[0], (total[part], None), (ones[part], None))
                early.add(part, logits)
        if early:
            ctx.save_for_backward(hidden, head, bias, labels, total, *early.all())
        else:
            ctx.save_for_backward(hidden, head, bias, labels, total, entropies)
        ctx.policy, ctx.early = policy, early is not None
        ctx.set_materialize_grads(False)
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        hidden, head, bias, labels, total, *rest = ctx.saved_tensors
        zeros = torch.zeros_like(total)
        d_logprobs, d_entropy = (zeros if g is None else g.contiguous() for g in grads)
        if ctx.early and len(labels) and bool((d_logprobs == d_logprobs[0]).all()):
            found = [None if g is None else g * d_logprobs[0].to(g.dtype) for g in rest]
            return *found, None, None, None, None
        entropies = None if ctx.early else rest[0]
        made = _Gradients(ctx, hidden, head, bias)
        for part in _chunks(len(labels), len(head), hidden.device):
            logits = _logits(hidden[part], head, bias, ctx.policy[1])
            saved = (total[part], None if entropies is None else entropies[part])
            kernels.log_probs_backward(logits, labels[part], ctx.policy[0], saved, (d_logprobs[part], d_entropy[part]))
            made.add(part, logits)
        return *made.all(), None, None, None, None


class _Gradients:
    """Gradients of the states, the head and its bias, collected from chunks of the logits' gradient."""

    def __init__(self, ctx: Any, hidden: Tensor, head: Tensor, bias: Tensor | None):
        self.hidden, self.head, self.bias = hidden, head, bias
        self.frozen = not ctx.needs_input_grad[1]  # adapters train while the head stays
        self.d_hidden = torch.empty_like(hidden)
        self.d_head: Tensor | None = None
        self.d_bias = None if bias is None else torch.zeros(len(bias), dtype=torch.float32, device=bias.device)

    def add(self, part: slice, d: Tensor) -> None:
        self.d_hidden[part] = gemm.matmul(d, self.head)
        if self.d_bias is not None:
            self.d_bias += d.sum(0, dtype=torch.float32)
        if self.frozen:
            return
        mine = gemm.matmul(d.T, self.hidden[part])
        if len(d) == len(self.hidden):
            self.d_head = mine
        else:  # sums over many chunks are kept in float32
            self.d_head = mine.float() if self.d_head is None else self.d_head.add_(mine)

    def all(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        d_head = None if self.d_head is None else self.d_head.to(self.head.dtype)
        return self.d_hidden, d_head, None if self.d_bias is None else self.d_bias.to(self.head.dtype)


def _chunks(rows: int, vocabulary: int, device: torch.device) -> list[slice]:
    """Even chunks of about LOGITS logits."""
    count = max(1, -(-rows * vocabulary // (LOGITS * (MORE if on_cuda(device) else 1))))
    size = max(1, -(-rows // count))
    return [slice(a, a + size) for a in range(0, rows, size)]


def tensors(batch: Batch, device: torch.device) -> dict[str, Tensor]:
    """The arrays of a batch as tensors on a device, by name; columns under `columns.NAME`."""
    names = ("inputs", "positions", "lengths", "labels", "at", "unit", "prefix", "role")
    arrays = {name: getattr(batch, name) for name in names}
    arrays |= {f"columns.{k}": v for k, v in batch.columns.items()}
    return {k: torch.from_numpy(np.ascontiguousarray(v)).to(device) for k, v in arrays.items()}


def quantities(model: Decoder, batch: Batch, names: Sequence[str], uniform: bool = False) -> Mapping[str, Tensor]:
    """The named quantities of a batch, each float32 [N] aligned with its labels.

    Args:
        names: of `logprobs` (log p(label) under the policy: its temperature and bans included), `entropy` (nats), and
            what heads say where label n is asked for: `values` (head `value`) and `score` (head `score`); for a head H
            over the vocabulary (`q`, `q1`, `target_q1` ...) `H_taken`, what it says of the label, and `H_logsumexp`,
            log sum exp of all that it says; `action_values`, the model's own output for the label (a Q network);
            `class_logprobs` [N, classes], of a head `class`.
        uniform: the loss is a multiple of the sum of log-probs where the batch has no column `weight`; its gradient
            then costs one matrix product less (and is right also where that turns out not to hold).
    """
    t = tensors(batch, model.device)
    states = _states(model, t, batch.products)
    found = {name: head_output(model, head, states) for name, head in HEADS.items() if name in names}
    found |= _action_values(model, states, t["labels"], names)
    if "action_values" in names:
        found["action_values"] = _own_values(model, states, t["labels"])
    if "class_logprobs" in names:
        found["class_logprobs"] = head_output(model, "class", states).log_softmax(-1)
    if "logprobs" in names or "entropy" in names:
        bias = getattr(model, "head_bias", None)
        policy = batch.temperature, batch.banned
        uniform = uniform and "weight" not in batch.columns
        logprobs, entropy = _LogProbs.apply(states, model.head, bias, t["labels"], policy, "entropy" in names, uniform)
        found |= {"logprobs": logprobs, "entropy": entropy}
    return {name: found[name] for name in names}


def _states(model: Any, t: Mapping[str, Tensor], products: Any = None) -> Tensor:
    """The hidden states [N, hidden] that answer the labels."""
    more = {name: t[name] for name in ("prefix", "role") if len(t[name])}
    if products is not None:
        more["given"] = products
    found: Tensor = model(t["inputs"], t["positions"], t["lengths"], **more).index_select(0, t["at"])
    return found


@torch.no_grad()
def drawn(model: Any, batch: Batch, which: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """What the model writes where some labels are asked for: token ids int64 [n], drawn from its policy.

    Args:
        which: int64 [n], of the labels.
        chances: float [n] in [0, 1): the place in each distribution's cumulative sum.
    """
    states = _states(model, tensors(batch, model.device))[torch.from_numpy(which).to(model.device)]
    u = torch.from_numpy(chances.astype(np.float32)).to(model.device)[:, None]
    found = np.zeros(len(which), np.int64)
    for part in _chunks(len(which), len(model.head), model.device):
        logits = _logits(states[part], model.head, getattr(model, "head_bias", None), batch.banned).float()
        whole = (logits / batch.temperature).softmax(-1).cumsum(-1)
        found[part] = torch.searchsorted(whole, u[part] * whole[:, -1:], right=True)[:, 0].cpu().numpy()
    return np.minimum(found, len(model.head) - 1)


def _action_values(model: Any, states: Tensor, labels: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """`HEAD_taken` and `HEAD_logsumexp` of those asked for: float32 [N] each; only the label's column is read for the
    first, and the second is a label's value less its log-prob under the head, which is computed in chunks.
    """
    found: dict[str, Tensor] = {}
    for head in dict.fromkeys(name.removesuffix("_taken").removesuffix("_logsumexp") for name in names):
        wanted = {f"{head}_taken", f"{head}_logsumexp"} & set(names)
        if not wanted:
            continue
        layer = model.heads[head]
        weight, bias = layer.weight.index_select(0, labels).float(), layer.bias.index_select(0, labels).float()
        found[f"{head}_taken"] = taken = (states.float() * weight).sum(-1) + bias
        if f"{head}_logsumexp" in wanted:
            logprobs, _ = _LogProbs.apply(states, layer.weight, layer.bias, labels, (1.0, ()), False, False)
            found[f"{head}_logsumexp"] = taken - logprobs
    return found


def _own_values(model: Any, states: Tensor, labels: Tensor) -> Tensor:
    """The output layer's value of each label, float32 [N]."""
    values = (states.float() * model.head.index_select(0, labels).float()).sum(-1)
    bias = getattr(model, "head_bias", None)
    return values if bias is None else values + bias.index_select(0, labels).float()


@torch.no_grad()
def sequence_logprobs(
    model: Decoder, sequences: Sequence[Sequence[int]], temperature: float = 1.0, tokens: int = 16384
) -> list[np.ndarray]:
    """The log-prob of each token given those before it: for a sequence of n tokens, float32 [n - 1].

    Args:
        tokens: about how many tokens go through the model at once.
    """
    order = sorted((i for i, s in enumerate(sequences) if len(s) > 1), key=lambda i: len(sequences[i]))
    out: list[np.ndarray] = [np.zeros(0, np.float32)] * len(sequences)
    group: list[int] = []
    for n, i in enumerate(order):
        group.append(i)
        if len(group) * len(sequences[i]) >= tokens or n == len(order) - 1:
            batch = next_token_batch([np.asarray(sequences[j]) for j in group], temperature=temperature)
            flat = quantities(model, batch, ("logprobs",))["logprobs"].cpu().numpy()
            ends = np.cumsum([len(sequences[j]) - 1 for j in group])
            for j, piece in zip(group, np.split(flat, ends[:-1]), strict=True):
                out[j] = piece
            group = []
    return out
