"""A decoder's forward alone, for sampling, over weights that are shared with it or laid out once for the machine.

In float32 on a CPU with AVX2 alone matrices are read as they lie, by a product of our own: 1.2 to 1.8 times as fast as
oneDNN's for up to 32 rows (docs/performance.md). On other CPUs they are stacked and laid out for oneDNN, which saves a
reordering at each product. Both give a row the same bits whatever rows go with it (oneDNN from two rows on), which
PyTorch's default in float32 does not.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from penchant.models import kernels
from penchant.models.decoder import Decoder, Mix
from penchant.models.heads import perturbed, target_layers

__all__ = ["Frozen", "Linear", "merged"]

_ROWS = 64  # what oneDNN is told to expect; other numbers of rows work as well


@functools.cache
def _packs(kind: torch.dtype) -> bool:
    """Whether oneDNN's linear layer with a laid-out matrix works here, and is right; it is no public interface."""
    if kind not in (torch.bfloat16, torch.float32):
        return False
    try:
        x, weight = torch.linspace(-1, 1, 96).view(2, 48).to(kind), torch.linspace(-1, 1, 1536).view(32, 48).to(kind)
        found = _multiply(x, torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS), None)
        return torch.allclose(found.float(), F.linear(x, weight).float(), rtol=0.02, atol=0.02)
    except (AttributeError, RuntimeError):
        return False


def _multiply(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise.default(x, packed, bias, "none", [], "")


class Linear:
    """y = x W' + b of layers over the same x, side by side: [N, in] -> [N, sum of out].

    Args:
        layers: a matrix [out, in] and a bias each; all of them have a bias or none has.
    """

    def __init__(self, *layers: tuple[Tensor, Tensor | None]):
        weights, biases = [w for w, _ in layers], [b for _, b in layers if b is not None]
        self.bias = None if not biases else biases[0] if len(biases) == 1 else torch.cat(biases)
        self.mark = weights[0][0].float().sum() + weights[-1][-1].float().sum()
        self.shared = weights if all(map(kernels.takes, weights)) else None
        if self.shared is not None:
            self.packed = True
            return
        weight = weights[0] if len(weights) == 1 else torch.cat(weights)
        self.packed = weight.device.type == "cpu" and _packs(weight.dtype)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _ROWS) if self.packed else weight

    def __call__(self, x: Tensor) -> Tensor:
        if self.shared is not None:
            found = kernels.rows_linear(x, self.shared)
            return found if self.bias is None else found.add_(self.bias)
        if not self.packed:
            return F.linear(x, self.weight, self.bias)
        if len(x) == 1:  # one row alone may go another way and get other bits
            return _multiply(x.expand(2, -1).contiguous(), self.weight, self.bias)[:1]
        return _multiply(x, self.weight, self.bias)


def merged(layer: Any) -> tuple[Tensor, Tensor | None]:
    """The matrix [out, in] and bias of a linear layer; an adapter's part is added to a copy.

    Raises:
        TypeError: no linear layer, and no adapter that merges.
    """
    if hasattr(layer, "get_base_layer") and hasattr(layer, "merge"):
        copied = copy.deepcopy(layer)  # to merge and unmerge would leave rounding behind
        copied.merge()
        layer = copied.get_base_layer()
    if type(layer) is not nn.Linear:
        raise TypeError(f"{type(layer).__name__} is no linear layer that sampling can read")
    return layer.weight.detach(), None if layer.bias is None else layer.bias.detach()


def _together(*layers: Any) -> Linear:
    return Linear(*(merged(layer) for layer in layers))


@dataclass(frozen=True, slots=True)
class _Layer:
    before: Tensor
    qkv: Linear
    norms: tuple[Tensor, Tensor] | None
    out: Linear
    between: Tensor
    gate_up: Linear
    down: Linear


class Frozen:
    """A decoder's weights as sampling reads them; after a change of the decoder make a new one.

    Attributes:
        config, dtype, device: those of the decoder.
        angles: positions [T] -> cosines and sines, float32 [T, head_dim / 2].
        window: of a layer, how many tokens a token sees; None for all.
    """

    @torch.no_grad()
    def __init__(self, model: Decoder):
        c = self.config = model.config
        self.dtype, self.device = model.dtype, model.device
        self.angles: Callable[[Tensor], tuple[Tensor, Tensor]] = model.rope.angles
        self.window = model.window
        self.eps, self.width = c.rms_norm_eps, c.head_dim
        self.groups, self.group = c.num_key_value_heads, c.num_attention_heads // c.num_key_value_heads
        self.inner, self.part = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
        self.embedding = model.model.embed_tokens.weight.detach()
        self.layers = [self._layer(block) for block in model.model.layers]
        self.last = model.model.norm.weight.detach()
        self.head = Linear((model.head.detach(), getattr(model, "head_bias", None)))
        self.action_values = [_together(layer) for layer in target_layers(model)]

    @staticmethod
    def _layer(block: Any) -> _Layer:
        a, m = block.self_attn, block.mlp
        return _Layer(
            block.input_layernorm.weight.detach(),
            _together(a.q_proj, a.k_proj, a.v_proj),
            None if a.q_norm is None else (a.q_norm.weight.detach(), a.k_norm.weight.detach()),
            _together(a.o_proj),
            block.post_attention_layernorm.weight.detach(),
            _together(m.gate_proj, m.up_proj),
            _together(m.down_proj),
        )

    @property
    def packed(self) -> bool:
        """Whether a row's bits do not depend on the rows that go with it."""
        return self.head.packed

    def logits(self, states: Tensor, q_weight: float = 0.0) -> Tensor:
        """[N, hidden] -> [N, vocabulary]: the policy's logits, with `q_weight` those of an ILQL policy."""
        found = self.head(states)
        return found if not q_weight else perturbed(found, [head(states) for head in self.action_values], q_weight)

    def stamp(self) -> tuple[float, ...]:
        """Numbers that change when the weights are trained on."""
        parts = [part.mark for x in self.layers for part in (x.qkv, x.out, x.gate_up, x.down)]
        return tuple(torch.stack([*parts, self.head.mark]).tolist())

    def states(
        self, inputs: Tensor, mix: Mix, only: Tensor | None = None, products: list[Tensor] | None = None
    ) -> Tensor:
        """Hidden states of flat token ids [T], as `Decoder.states`.

        Args:
            only: int64 [N], tokens whose states are wanted; the others leave the last layer early.
            products: is given what each linear layer gave, in the order of `decoder.Given` (not with `only`).

        Returns:
            [T, hidden], or [N, hidden].
        """
        x, add = F.embedding(inputs, self.embedding), None
        for number, layer in enumerate(self.layers):
            x, normed, _ = kernels.norm(x, add, layer.before, self.eps)
            qkv = projected = layer.qkv(normed)
            if layer.norms is not None:
                qkv = self._norm_heads(qkv, *layer.norms)
            mixed = mix(number, qkv)
            if only is not None and number == len(self.layers) - 1:
                x, mixed = x[only], mixed[only]
            x, normed, _ = kernels.norm(x, out := layer.out(mixed), layer.between, self.eps)
            add = layer.down(kernels.swiglu(both := layer.gate_up(normed)))
            if products is not None:
                products += [projected, out, both, add]
        return kernels.norm(x, add, self.last, self.eps)[1]

    def _norm_heads(self, qkv: Tensor, q_gain: Tensor, k_gain: Tensor) -> Tensor:
        q, k, v = qkv.split((self.inner, self.part, self.part), dim=-1)
        q = kernels.norm(q.reshape(-1, self.width), None, q_gain, self.eps)[1]
        k = kernels.norm(k.reshape(-1, self.width), None, k_gain, self.eps)[1]
        return torch.cat([q.view(len(v), -1), k.view(len(v), -1), v], dim=-1)
