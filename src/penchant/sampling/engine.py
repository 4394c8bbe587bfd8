"""The sampler: prefill, a static key/value cache, one batched step a token.

Each request draws from a stream of its own, whatever stands beside it in the batch; only rounding can differ, with the
number of rows and the longest of them. Forced tokens (`insert`) are fed, not chosen: they carry no log-prob and do not
count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from penchant.errors import InputError
from penchant.models.attention import Layout, causal_attention
from penchant.models.decoder import Decoder
from penchant.runtime.random import stream
from penchant.sampling.warp import draw, warp

__all__ = ["Sampled", "generate"]


@dataclass(frozen=True, slots=True)
class Sampled:
    """What was sampled for one request.

    Attributes:
        ids: chosen and forced tokens; the end token too, where one was chosen.
        logprobs: float32 [len(ids)], under the policy's own distribution (temperature and bans included, top-k and
            top-p not); 0 at forced tokens.
        forced: bool [len(ids)].
        stop: "end" or "length".
    """

    ids: tuple[int, ...]
    logprobs: np.ndarray
    forced: np.ndarray
    stop: str


class _Cache:
    """Keys and values of all layers, [rows, groups, places, width] each, and how to attend to them."""

    def __init__(self, model: Decoder, rows: int, places: int):
        c = model.config
        shape = (rows, c.num_key_value_heads, places, c.head_dim)
        new: dict[str, Any] = {"dtype": model.dtype, "device": model.device}
        self.keys = [torch.zeros(shape, **new) for _ in range(c.num_hidden_layers)]
        self.values = [torch.zeros(shape, **new) for _ in range(c.num_hidden_layers)]
        self.rows = torch.arange(rows, device=model.device)
        self.group = c.num_attention_heads // c.num_key_value_heads

    def prefill(self, model: Decoder, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Run the prompts; returns the hidden state of each prompt's last token [rows, hidden]."""
        lengths = torch.tensor([len(p) for p in prompts], device=model.device)
        layout = Layout.of(lengths, model.dtype)
        ids = torch.tensor([i for p in prompts for i in p], device=model.device)
        positions = torch.cat([torch.arange(len(p), device=model.device) for p in prompts])

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            self.keys[layer][:, :, : layout.longest] = layout.unfold(k)
            self.values[layer][:, :, : layout.longest] = layout.unfold(v)
            return causal_attention(q, k, v, layout)

        return model.hidden(ids, positions, attend)[torch.cumsum(lengths, 0) - 1]

    def step(self, model: Decoder, ids: Tensor, places: Tensor) -> Tensor:
        """Feed one token a row at its place; returns hidden states [rows, hidden]."""
        reach = int(places.max()) + 1
        hidden_from = torch.where(torch.arange(reach, device=ids.device) > places[:, None], float("-inf"), 0.0).to(
            model.dtype
        )[:, None, None, :]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys, values = self.keys[layer], self.values[layer]
            keys[self.rows, :, places], values[self.rows, :, places] = k, v
            rows, heads, width = q.shape
            grouped = (q * width**-0.5).view(rows, heads // self.group, self.group, width)
            scores = torch.matmul(grouped, keys[:, :, :reach].transpose(-1, -2)) + hidden_from
            return torch.matmul(torch.softmax(scores, -1), values[:, :, :reach]).reshape(rows, heads * width)

        return model.hidden(ids, places, attend)


def _check(model: Decoder, prompts: Sequence[Sequence[int]], room: int) -> None:
    limit = model.config.max_position_embeddings
    for number, prompt in enumerate(prompts, 1):
        if not prompt:
            raise InputError("the prompt is empty", "give it at least one token", file="prompt", row=number)
        if len(prompt) + room > limit:
            raise InputError(
                f"{len(prompt)} tokens and {room} new ones pass the model's context of {limit}",
                "shorten the prompt or max_new_tokens",
                file="prompt",
                row=number,
            )


def _distribution(model: Decoder, state: Tensor, temperature: float, ban: Sequence[int]) -> Tensor:
    """Log-probs [rows, vocabulary] of the policy: its temperature and bans included."""
    logits = torch.nn.functional.linear(state, model.head).float() / (temperature or 1.0)
    if ban:
        logits[:, list(ban)] = float("-inf")
    return torch.log_softmax(logits, -1)


@torch.no_grad()
def generate(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    end: Sequence[int] = (),
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    ban: Sequence[int] = (),
    insert: Mapping[int, int] | None = None,
    seed: int = 0,
    first: int = 0,
    slots: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> list[Sampled]:
    """Sample a completion of each prompt (token ids).

    Args:
        max_new_tokens: chosen tokens at most; forced ones come on top (and take room in the context).
        end: token ids that end a completion.
        temperature: 0 is greedy.
        ban: token ids that cannot be chosen.
        insert: after token a, feed token b: `{newline: good}`. Also after a prompt that ends with a.
        seed, first: request i draws from stream (seed, first + i).
        slots: rows sampled at once.

    Raises:
        InputError: a prompt is empty, or does not fit the context with its completion.
    """
    insert = dict(insert or {})
    room = max_new_tokens + (max_new_tokens + 1 if insert else 0)
    limit = model.config.max_position_embeddings
    _check(model, prompts, max_new_tokens)
    out: list[Sampled] = []
    with model.fused():
        for a in range(0, len(prompts), slots):
            group = [list(p) for p in prompts[a : a + slots]]
            uniforms = np.stack(
                [stream(seed, "sample", first + a + i).random(max_new_tokens) for i in range(len(group))]
            )
            places = min(limit, max(map(len, group)) + room)
            rows = _Rows(group, places, max_new_tokens, set(end), insert)
            cache = _Cache(model, len(group), places)
            state = cache.prefill(model, group)
            while True:
                logprobs = _distribution(model, state, temperature, ban)
                if temperature == 0:
                    chosen = logprobs.argmax(-1)
                else:
                    warped = warp(logprobs, top_k, top_p) if top_k or top_p < 1 else logprobs
                    chosen = draw(warped, rows.uniforms(uniforms).to(model.device))
                picked = logprobs.gather(1, chosen[:, None]).squeeze(1)
                if not rows.take(chosen.cpu().numpy(), picked.cpu().numpy()):
                    break
                last, place = (torch.from_numpy(x).to(model.device) for x in (rows.last, rows.place))
                state = cache.step(model, last, place)
            out.extend(rows.done())
            if progress:
                progress(len(out), len(prompts))
    return out


class _Rows:
    """The bookkeeping of a group of requests, in NumPy: what was taken, what is forced next, who has ended."""

    def __init__(self, prompts: list[list[int]], places: int, budget: int, end: set[int], insert: dict[int, int]):
        count = len(prompts)
        self.budget, self.end, self.places = budget, np.array(sorted(end), np.int64), places
        self.next_forced = np.full(max([*insert, 0]) + 1, -1, np.int64)
        for after, token in insert.items():
            self.next_forced[after] = token
        self.last = np.array([p[-1] for p in prompts], np.int64)
        self.place = np.array([len(p) for p in prompts], np.int64) - 1
        self.chosen = np.zeros(count, np.int64)
        self.ended = np.zeros(count, bool)
        self.cut = np.zeros(count, bool)
        self.ids: list[np.ndarray] = []
        self.logprobs: list[np.ndarray] = []
        self.forced: list[np.ndarray] = []
        self.taken: list[np.ndarray] = []

    def uniforms(self, table: np.ndarray) -> Tensor:
        """The number each row draws with at its next choice."""
        at = np.minimum(self.chosen, table.shape[1] - 1)
        return torch.from_numpy(table[np.arange(len(table)), at])

    def take(self, chosen: np.ndarray, logprobs: np.ndarray) -> bool:
        """Take a token a row (forced ones instead of chosen ones); False when no row goes on."""
        small = np.minimum(self.last, len(self.next_forced) - 1)
        force = np.where(small == self.last, self.next_forced[small], -1)
        forced = force >= 0
        tokens = np.where(forced, force, chosen)
        closing = ~forced & np.isin(tokens, self.end)
        going = ~self.ended & ~self.cut
        live = going & ~closing
        self.ended |= going & closing
        self.chosen += live & ~forced
        self.ids.append(tokens)
        self.logprobs.append(np.where(forced, 0.0, logprobs).astype(np.float32))
        self.forced.append(forced)
        self.taken.append(going)
        self.last = np.where(live, tokens, self.last)
        self.place = np.where(live, self.place + 1, self.place)
        self.cut |= live & ((self.chosen >= self.budget) | (self.place + 1 >= self.places))
        return bool((~self.ended & ~self.cut).any())

    def done(self) -> list[Sampled]:
        """The requests' results, in order."""
        ids, logprobs, forced, took = (np.stack(x) for x in (self.ids, self.logprobs, self.forced, self.taken))
        return [
            Sampled(
                tuple(ids[took[:, i], i].tolist()),
                logprobs[took[:, i], i],
                forced[took[:, i], i],
                "end" if self.ended[i] else "length",
            )
            for i in range(ids.shape[1])
        ]
