"""From logits to tokens: the policy's distribution, what warps it, and draws by the inverse of its sum.

One softmax a step serves the draw and its log-prob; the sum over the vocabulary is taken in blocks, so that only the
block that is hit is summed token by token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from penchant.sampling.options import Options

__all__ = ["Choice", "choose", "cut", "draw"]

_BLOCK = 64


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen for each row.

    Attributes:
        ids: int64 [R].
        logprobs: float32 [R], of the policy.
        sampling: float32 [R], of the distribution drawn from; None where that is the policy's.
        top: ids and log-probs [R, n] of the policy's likeliest tokens, or None.
    """

    ids: Tensor
    logprobs: Tensor
    sampling: Tensor | None
    top: tuple[Tensor, Tensor] | None


def choose(
    logits: Tensor, uniforms: Tensor, options: Options, seen: Tensor | None = None, short: Tensor | None = None
) -> Choice:
    """A token for each row. Where the logits are not finite, neither are the log-probs; nothing is waited for here.

    Args:
        logits: [R, vocabulary] as the model gives them; overwritten.
        uniforms: float64 [R] in [0, 1).
        seen: bool [R, vocabulary], tokens that the repetition penalty weighs on.
        short: bool [R], rows that may not end yet.
    """
    if len(options.ban):
        logits[:, list(options.ban)] = float("-inf")
    if options.temperature not in (0.0, 1.0):
        logits = logits.float() * (1.0 / options.temperature)
    own = torch.softmax(logits, -1, dtype=torch.float32)
    changed = options.repetition_penalty != 1.0 or options.holds_on
    scores = _weigh(logits.float(), options, seen, short) if changed else logits
    if options.temperature == 0.0:
        ids, sampling = scores.argmax(-1), None
    else:
        mass = torch.softmax(scores, -1) if changed else own
        if options.cuts:
            mass = cut(mass, options.top_k, options.top_p, options.min_p)
        ids, total = draw(mass, uniforms)
        sampling = (_at(mass, ids) / total).log() if options.warps else None
    logprobs = _at(own, ids).log()
    top = own.topk(min(options.top_logprobs, own.shape[-1]), -1) if options.top_logprobs else None
    return Choice(ids, logprobs, sampling, None if top is None else (top.indices, top.values.log()))


def _at(mass: Tensor, ids: Tensor) -> Tensor:
    return mass.gather(1, ids[:, None]).squeeze(1)


def _weigh(scores: Tensor, options: Options, seen: Tensor | None, short: Tensor | None) -> Tensor:
    """Scores with what was seen made less likely, and ends held back in rows that are short; may overwrite them."""
    penalty = options.repetition_penalty
    if penalty != 1.0 and seen is not None:
        scores = torch.where(seen, torch.where(scores < 0, scores * penalty, scores / penalty), scores)
    if options.holds_on and short is not None:
        ends = torch.tensor(list(options.end), device=scores.device)
        scores[:, ends] = scores[:, ends].masked_fill(short[:, None], float("-inf"))
    return scores


def cut(mass: Tensor, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0) -> Tensor:
    """Leave out unlikely tokens: all but the k likeliest, then all but the fewest that hold `top_p` of what is left,
    then those below `min_p` times the likeliest. Tokens as likely as the last one kept stay as well.

    Args:
        mass: float32 [R, vocabulary], not negative.

    Returns:
        The same with 0 for what was left out; not renormalised.
    """
    width = mass.shape[-1]
    if 0 < top_k < width:
        mass = mass.masked_fill(mass < mass.topk(top_k, -1).values[:, -1:], 0.0)
    if top_p < 1.0:
        mass = mass.masked_fill(mass < _nucleus(mass, top_p), 0.0)
    if min_p > 0.0:
        mass = mass.masked_fill(mass < min_p * mass.amax(-1, keepdim=True), 0.0)
    return mass


def _nucleus(mass: Tensor, top_p: float) -> Tensor:
    """The mass [R, 1] of the least likely token that top-p keeps; most often a few hundred tokens hold enough."""
    width = mass.shape[-1]
    wanted = top_p * mass.sum(-1, keepdim=True)
    count = min(width, 256)
    while True:
        ordered = mass.topk(count, -1).values
        sums = ordered.cumsum(-1)
        if count == width or bool((sums[:, -1:] >= wanted).all()):
            break
        count = min(width, count * 8)
    last = (sums - ordered < wanted).sum(-1, keepdim=True) - 1
    return ordered.gather(1, last.clamp_min(0))


def draw(mass: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """One token a row by the inverse of the cumulative distribution, and what each row sums to.

    A token whose mass is 0 is never drawn, also where the uniform number meets the sum's rounding.

    Args:
        mass: float32 [R, vocabulary], not negative; it need not sum to 1.
        uniforms: float64 [R] in [0, 1).
    """
    rows, width = mass.shape
    whole = width // _BLOCK * _BLOCK
    sums = mass[:, :whole].view(rows, -1, _BLOCK).sum(-1) if whole == width else _blocks(mass, whole)
    edges = sums.double().cumsum(-1)
    total = edges[:, -1]
    target = _below(uniforms * total, total)
    block = torch.searchsorted(edges, target[:, None], right=True).clamp_max_(edges.shape[1] - 1)
    rest = target[:, None] - (edges - sums).gather(1, block)
    at = block * _BLOCK + torch.arange(_BLOCK, device=mass.device)
    inside = mass.gather(1, at.clamp_max(width - 1)).masked_fill_(at >= width, 0.0).double().cumsum(-1)
    rest = _below(rest.squeeze(1), inside[:, -1]).clamp_min_(0.0)
    index = torch.searchsorted(inside, rest[:, None], right=True)
    return (block * _BLOCK + index).squeeze(1).clamp_max_(width - 1), total.float()


def _blocks(mass: Tensor, whole: int) -> Tensor:
    body = mass[:, :whole].unflatten(-1, (-1, _BLOCK)).sum(-1) if whole else mass[:, :0]
    return torch.cat([body, mass[:, whole:].sum(-1, keepdim=True)], -1)


def _below(value: Tensor, limit: Tensor) -> Tensor:
    return torch.minimum(value, torch.nextafter(limit, torch.zeros_like(limit)))
