"""A decoder's forward alone, for sampling: its matrices stacked and laid out once for the machine; never saved.

On a CPU a layout of its own saves a reordering of a matrix at each product, and gives a row the same bits whatever rows
go with it, which PyTorch's default in float32 does not. In float32 with AVX2 alone it is that of our own kernel, 1.3
times as fast as oneDNN's for 32 rows and twice for 16 and fewer (docs/performance.md); else oneDNN's.
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
    """y = x W' + b; W as it is, in panels, or in oneDNN's layout."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        laid = kernels.panels(weight)
        packs = laid is None and weight.device.type == "cpu" and _packs(weight.dtype)
        self.bias, self.out, self.panels, self.packed = bias, len(weight), laid is not None, packs or laid is not None
        self.mark = weight[:: max(1, len(weight) - 1)].float().sum()  # of the first and the last row
        if packs:
            laid = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _ROWS)
        self.weight = weight if laid is None else laid

    def __call__(self, x: Tensor) -> Tensor:
        """[N, in] -> [N, out]."""
        if self.panels:
            found = kernels.panel_linear(x, self.weight, self.out)
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
    parts = [merged(layer) for layer in layers]
    if len(parts) == 1:
        return Linear(*parts[0])
    biases = [b for _, b in parts if b is not None]
    return Linear(torch.cat([w for w, _ in parts]), torch.cat(biases) if biases else None)


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
    """A decoder's weights as sampling reads them; the decoder's later changes are not seen.

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
        self.head = Linear(model.head.detach(), getattr(model, "head_bias", None))
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
