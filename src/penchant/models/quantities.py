"""What objectives ask for, computed from hidden states in chunks: [tokens, vocabulary] never exists.

The gradient of a chunk is made from logits computed a second time: one more matrix product, and memory that does not
grow with the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from penchant.data.pack import next_token_batch
from penchant.models.decoder import Decoder
from penchant.records import Batch

__all__ = ["quantities", "sequence_logprobs", "tensors"]

CHUNK = 512


def _logits(hidden: Tensor, head: Tensor, temperature: float, banned: Sequence[int]) -> Tensor:
    logits = torch.nn.functional.linear(hidden, head).float()
    if temperature != 1.0:
        logits /= temperature
    if banned:
        logits[:, list(banned)] = float("-inf")
    return logits


class _LogProbs(torch.autograd.Function):
    """log p(label) and the entropy of p for each hidden state, with d log p = onehot - p, dH = -p (log p + H)."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,  # [N, hidden]
        head: Tensor,  # [vocabulary, hidden]
        labels: Tensor,  # [N]
        temperature: float,
        banned: Sequence[int],
        entropy: bool,
    ) -> tuple[Tensor, Tensor]:
        logprobs = torch.empty(len(labels), dtype=torch.float32, device=hidden.device)
        entropies = torch.zeros_like(logprobs)
        for a in range(0, len(labels), CHUNK):
            part = slice(a, a + CHUNK)
            logits = _logits(hidden[part], head, temperature, banned)
            total = torch.logsumexp(logits, dim=-1)
            logprobs[part] = logits.gather(1, labels[part, None]).squeeze(1) - total
            if entropy:
                p = torch.exp(logits - total[:, None])
                entropies[part] = total - (p * logits.nan_to_num(neginf=0.0)).sum(-1)
        ctx.save_for_backward(hidden, head, labels, entropies)
        ctx.settings = temperature, banned, entropy
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        hidden, head, labels, entropies = ctx.saved_tensors
        temperature, banned, entropy = ctx.settings
        d_logprobs, d_entropy = grads
        d_hidden = torch.empty_like(hidden)
        d_head = torch.zeros(head.shape, dtype=torch.float32, device=head.device)
        for a in range(0, len(labels), CHUNK):
            part = slice(a, a + CHUNK)
            logp = torch.log_softmax(_logits(hidden[part], head, temperature, banned), dim=-1)
            p = logp.exp()
            weight = d_logprobs[part, None]
            if entropy:
                finite = logp.nan_to_num(neginf=0.0)
                d = p * (-(finite + entropies[part, None]) * d_entropy[part, None] - weight)
            else:
                d = p.mul_(-weight)
            d.scatter_add_(1, labels[part, None], weight)
            d = (d / temperature if temperature != 1.0 else d).to(hidden.dtype)
            d_hidden[part] = d @ head
            d_head += d.T @ hidden[part]
        return d_hidden, d_head.to(head.dtype), None, None, None, None


def tensors(batch: Batch, device: torch.device) -> dict[str, Tensor]:
    """The arrays of a batch as tensors on a device, by name; columns under `columns.NAME`."""
    arrays = {k: getattr(batch, k) for k in ("inputs", "positions", "lengths", "labels", "at", "unit")}
    arrays |= {f"columns.{k}": v for k, v in batch.columns.items()}
    return {k: torch.from_numpy(np.ascontiguousarray(v)).to(device) for k, v in arrays.items()}


def quantities(model: Decoder, batch: Batch, names: Sequence[str]) -> Mapping[str, Tensor]:
    """The named quantities of a batch, each float32 [N] aligned with its labels.

    Args:
        names: of `logprobs` (log p(label) under the policy: its temperature and bans included) and `entropy` (nats).
    """
    t = tensors(batch, model.device)
    states = model(t["inputs"], t["positions"], t["lengths"]).index_select(0, t["at"])
    logprobs, entropy = _LogProbs.apply(
        states, model.head, t["labels"], batch.temperature, batch.banned, "entropy" in names
    )
    found = {"logprobs": logprobs, "entropy": entropy}
    return {name: found[name] for name in names}


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
