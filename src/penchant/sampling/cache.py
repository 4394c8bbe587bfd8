"""Keys and values: of prompts run at once (`Prompts`), of the rows that go on (`Cache`), of a text kept (`Prefix`).

The cache is dense up to the longest row that lives, rounded up: batched products run fastest on tensors without gaps,
and zeros that round a row up do not change its bits. When rows grow past it the places are laid out anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from penchant.models import flash, kernels
from penchant.models.decoder import Mix
from penchant.models.frozen import Frozen
from penchant.runtime.cards import on_cuda

__all__ = ["STEP", "Cache", "Prefix", "Prompts", "round_up"]

STEP = 32  # places are added so many at a time
_CUDA = 256  # and on CUDA, where each new layout costs a new graph
_QUERIES = 64  # of a prompt, so many at once look back


def round_up(number: int, step: int = STEP) -> int:
    """The next multiple of `step`."""
    return -(-number // step) * step


@dataclass(frozen=True, slots=True)
class Prefix:
    """The keys and values of a text, to go on from without running it again.

    Attributes:
        ids: its token ids.
        keys, values: a layer each, [groups, len(ids), width].
        stamp: tells the weights that made them.
    """

    ids: tuple[int, ...]
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    stamp: tuple[float, ...]


class Prompts:
    """Prompts run together, flat; each token sees its own prompt up to itself.

    Args:
        tails: what is still to be run of each, not empty.
        prior: keys and values of what stands before, for a single prompt: a prefix, and how many of its tokens.
        whole: the states of all tokens are wanted.
        products: is given what each linear layer gave for all tokens.

    Attributes:
        keys, values: a layer each, [prompts, groups, places, width]; 0 where a prompt is shorter.
        last: hidden states of each prompt's last token [prompts, hidden].
        states: hidden states of all tokens [T, hidden], where they are wanted.
        ends: int64 [prompts], where in them each prompt's last token stands.
    """

    def __init__(
        self,
        model: Frozen,
        tails: Sequence[Sequence[int]],
        prior: tuple[Prefix, int] | None = None,
        whole: bool = False,
        products: list[Tensor] | None = None,
    ):
        self.model, self.prior = model, prior
        self.start = prior[1] if prior else 0
        lengths = [len(tail) for tail in tails]
        self.rows, self.longest = len(tails), round_up(max(lengths))
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        device = model.device
        steps = torch.cat([torch.arange(n) for n in lengths])
        row = torch.repeat_interleave(torch.arange(len(tails)), torch.tensor(lengths))
        fast = prior is None and flash.usable(device, model.dtype, model.width)
        self._flat = flash.Flat.of(torch.tensor(lengths, device=device)) if fast else None
        self._queries_at = (row * self.longest + steps).to(device)
        self._keys_at = (row * (self.start + self.longest) + self.start + steps).to(device)
        self._angles = model.angles((self.start + steps).to(device))
        ids = torch.tensor([i for tail in tails for i in tail]).to(device)
        self.ends = torch.tensor(lengths).cumsum(0).to(device) - 1
        whole = whole or products is not None
        found = model.states(ids, self._mix, None if whole else self.ends, products)
        self.states = found if whole else None
        self.last = found[self.ends] if whole else found

    def _mix(self, layer: int, qkv: Tensor) -> Tensor:
        m, longest = self.model, self.longest
        if self._flat is not None:
            heads = flash.heads(qkv, self._angles, m.groups, m.width)
            for kept, new in ((self.keys, heads[1]), (self.values, heads[2])):
                rows = new.new_zeros(self.rows * longest, m.groups, m.width).index_copy_(0, self._keys_at, new)
                kept.append(rows.view(self.rows, longest, m.groups, m.width).transpose(1, 2))
            return flash.attend(*heads, self._flat, m.window(layer) or 0)
        q = qkv.new_zeros(self.rows, m.groups, longest, m.group, m.width)
        k, v = (qkv.new_zeros(self.rows, m.groups, self.start + longest, 1, m.width) for _ in range(2))
        if self.prior:
            k[0, :, : self.start, 0] = self.prior[0].keys[layer][:, : self.start]
            v[0, :, : self.start, 0] = self.prior[0].values[layer][:, : self.start]
        inner, end = m.inner, m.inner + m.part
        kernels.place_heads(qkv[:, :inner], q, (None, self._queries_at), self._angles, m.width**-0.5)
        kernels.place_heads(qkv[:, inner:end], k, (None, self._keys_at), self._angles)
        kernels.place_heads(qkv[:, end:], v, (None, self._keys_at), None)
        self.keys.append(k.squeeze(3))
        self.values.append(v.squeeze(3))
        out = torch.empty_like(q)
        self._look_back(q, k, v, out, m.window(layer) or 0)
        flat = qkv.new_empty(len(qkv), inner)
        kernels.gather_heads(out, flat, (None, self._queries_at), None)
        return flat

    def _look_back(self, q: Tensor, k: Tensor, v: Tensor, out: Tensor, window: int) -> None:
        """Attention a block of queries at a time; blocks depend on nothing but the place, so bits do neither."""
        group, (queries, keys, values, found) = (
            self.model.group,
            (x.flatten(0, 1).flatten(1, 2) for x in (q, k, v, out)),
        )
        for a in range(0, self.longest, _QUERIES):
            b = min(a + _QUERIES, self.longest)
            low = max(0, self.start + a - window + 1) // STEP * STEP if window else 0
            mine, seen = slice(a * group, b * group), slice(low, self.start + b)
            weights = torch.bmm(queries[:, mine], keys[:, seen].transpose(1, 2))
            kernels.causal_softmax(weights, kernels.Seen(self.start + a - low, group, window))
            found[:, mine] = torch.bmm(weights, values[:, seen])


class Cache:
    """Keys and values of rows that grow by a token a step, [rows * groups, reach, width] each.

    Args:
        rows: how many at once.
        places: how many tokens a row may come to hold.

    Attributes:
        layouts: how often the places were laid out anew; until the next time all keys stay where they are.
    """

    def __init__(self, model: Frozen, rows: int, places: int):
        self.step = _CUDA if on_cuda(model.device) else STEP
        self.model, self.rows, self.places, self.reach = model, rows, round_up(places, self.step), 0
        self.layouts = 0
        size = rows * model.groups * self.places * model.width
        new = {"dtype": model.dtype, "device": model.device}
        count = 2 * len(model.layers)
        # Memory is touched as rows grow; the last buffer is where the next tensor is laid out anew.
        self._buffers = [torch.empty(size, **new) for _ in range(count + 1)]  # type: ignore[call-overload]
        self._views: list[Tensor] = [b[:0].view(rows * model.groups, 0, model.width) for b in self._buffers[:count]]

    def _layer(self, layer: int) -> tuple[Tensor, Tensor]:
        return self._views[2 * layer], self._views[2 * layer + 1]

    def _lay_out(self, reach: int, keep: Tensor | None = None) -> None:
        """Give each row `reach` places, and keep only some rows where asked to."""
        groups, width = self.model.groups, self.model.width
        rows = self.rows if keep is None else len(keep)
        shared = min(reach, self.reach)
        for i, old in enumerate(self._views):
            new = self._buffers[-1][: rows * groups * reach * width].view(rows, groups, reach, width)
            there = old.view(self.rows, groups, self.reach, width)[:, :, :shared]
            new[:, :, :shared] = there if keep is None else there[keep]
            new[:, :, shared:] = 0
            self._buffers[i], self._buffers[-1] = self._buffers[-1], self._buffers[i]
            self._views[i] = new.view(rows * groups, reach, width)
        self.rows, self.reach = rows, reach
        self.layouts += 1

    def fit(self, longest: int) -> None:
        """Make room for rows of up to `longest` tokens; give places up where half would do."""
        reach = round_up(longest, self.step)
        if reach > self.reach or 2 * reach <= self.reach:
            self._lay_out(reach)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows alone (indices, int64)."""
        self._lay_out(self.reach, rows)

    def write(self, prompts: Prompts, sources: Tensor, rows: Tensor) -> None:
        """Copy prompts' keys and values into rows (int64 both, a source a row)."""
        for layer, pair in enumerate(zip(prompts.keys, prompts.values, strict=True)):
            for view, new in zip(self._layer(layer), pair, strict=True):
                there = view.view(self.rows, self.model.groups, self.reach, self.model.width)
                shared = min(new.shape[2], self.reach)  # beyond the reach there is only rounding
                there[rows, :, :shared] = new[sources, :, :shared]

    def read(self, row: int, ids: Sequence[int], stamp: tuple[float, ...]) -> Prefix:
        """A copy of a row's first `len(ids)` places, which hold these tokens."""
        groups = slice(row * self.model.groups, (row + 1) * self.model.groups)
        copies = [view[groups, : len(ids)].clone() for view in self._views]
        return Prefix(tuple(ids), tuple(copies[::2]), tuple(copies[1::2]), stamp)

    def mix(self, places: Tensor) -> Mix:
        """Attention of one token a row, which stands at its place (int64 [rows], below the reach)."""
        m, reach = self.model, self.reach
        rows = torch.arange(self.rows, device=places.device)
        here, at, angles = (None, rows), (None, rows * reach + places), m.angles(places)
        masks = {w: self._mask(places, w) for w in {m.window(i) for i in range(len(m.layers))}}

        def mix(layer: int, qkv: Tensor) -> Tensor:
            keys, values = self._layer(layer)
            shape = (self.rows, m.groups, reach, 1, m.width)
            if qkv.is_cuda:
                return self._mix_cuda(qkv, (keys, values), (rows, places), angles, masks[m.window(layer)])
            q = qkv.new_empty(self.rows, m.groups, 1, m.group, m.width)
            inner, end = m.inner, m.inner + m.part
            kernels.place_heads(qkv[:, :inner], q, here, angles, m.width**-0.5)
            kernels.place_heads(qkv[:, inner:end], keys.view(shape), at, angles)
            kernels.place_heads(qkv[:, end:], values.view(shape), at, None)
            scores = torch.baddbmm(masks[m.window(layer)], q.view(-1, m.group, m.width), keys.transpose(1, 2))
            return torch.bmm(torch.softmax(scores, -1), values).view(self.rows, inner)

        return mix

    def _mix_cuda(
        self,
        qkv: Tensor,
        kept: tuple[Tensor, Tensor],
        at: tuple[Tensor, Tensor],
        angles: tuple[Tensor, Tensor],
        mask: Tensor,
    ) -> Tensor:
        """The same in as few kernels as torch offers: there are some fourteen a layer, and each has its price."""
        m = self.model
        q, *new = flash.heads(qkv, angles, m.groups, m.width)
        for there, what in zip(kept, new, strict=True):
            there.view(self.rows, m.groups, -1, m.width)[at[0], :, at[1]] = what
        q = q.reshape(-1, m.group, m.width)
        scores = torch.baddbmm(mask, q, kept[0].transpose(1, 2), alpha=m.width**-0.5)
        return torch.bmm(torch.softmax(scores, -1), kept[1]).view(self.rows, m.inner)

    def _mask(self, places: Tensor, window: int | None) -> Tensor:
        """[rows * groups, 1, reach]: 0 at the places that a row sees, -inf at the others."""
        behind = places[:, None] - torch.arange(self.reach, device=places.device)
        hidden = behind < 0 if window is None else (behind < 0) | (behind >= window)
        mask = torch.zeros(hidden.shape, dtype=self.model.dtype, device=places.device)
        mask = mask.masked_fill_(hidden, float("-inf"))
        return mask.repeat_interleave(self.model.groups, 0)[:, None]
