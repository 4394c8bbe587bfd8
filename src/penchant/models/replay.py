"""An update that goes on from what sampling computed: the linear layers' outputs are given, all else is made again.

The policy that is updated is the one that was just sampled, so its forward is known: nine tenths of a forward's work
are the products, and their outputs were there once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from penchant.machine import memory_limit
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder

__all__ = ["Tape", "pays", "replays", "tape_bytes"]


_WIDE = 512
_PAGE = 32  # bits of a place that count tokens within its page


class Tape:
    """Outputs of a decoder's linear layers, for each token that sampling ran; its memory is used again and again.

    Attributes:
        prompts: a prompt's ids -> where its tokens stand, int64 [prompt].
        texts: a request's number -> where the tokens that it was fed stand (all but its last), int64 [completion - 1].
    """

    def __init__(self) -> None:
        self._pages: list[list[Tensor]] = []  # of each, by product
        self._lock = threading.Lock()
        self.clear(0)

    def clear(self, room: int) -> None:
        """Forget all tokens; `room`: how many are likely to come (where there are more, reading is slower)."""
        if self._pages and len(self._pages[0][0]) < room:
            self._pages.clear()
        self._room, self._page, self._used = room, 0, 0
        self.prompts: dict[tuple[int, ...], np.ndarray] = {}
        self.texts: dict[int, np.ndarray] = {}

    @property
    def bytes(self) -> int:
        """What its tokens take."""
        width = sum(p.shape[1] * p.element_size() for p in self._pages[0]) if self._pages else 0
        return width * (self._used + sum(len(page[0]) for page in self._pages[: self._page]))

    def add(self, products: Sequence[Tensor]) -> int:
        """Keep what each product gave for some tokens, [T, width] each; where the first of them stands."""
        count = len(products[0])
        with self._lock:
            if self._pages and self._used + count > len(self._pages[self._page][0]):
                self._page, self._used = self._page + 1, 0
            if self._page == len(self._pages):
                size = max(int(1.25 * self._room), count)  # memory that is never written to is none
                self._pages.append([p.new_empty(size, p.shape[1]) for p in products])
            number, at = self._page, self._used
            self._used += count
        for kept, new in zip(self._pages[number], products, strict=True):
            kept[at : at + count] = new
        return number << _PAGE | at

    def at(self, tokens: np.ndarray) -> Callable[[int], Tensor]:
        """A product's number -> what it gave for these tokens (int64 [T], as `prompts` and `texts` tell)."""
        number, place = tokens >> _PAGE, torch.from_numpy(tokens & ((1 << _PAGE) - 1))
        parts = [(self._pages[one], torch.from_numpy(np.flatnonzero(number == one))) for one in np.unique(number)]
        if len(parts) == 1:
            return lambda product: parts[0][0][product].index_select(0, place)

        def read(product: int) -> Tensor:
            out = parts[0][0][product].new_empty(len(place), parts[0][0][product].shape[1])
            for page, where in parts:
                out[where] = page[product].index_select(0, place[where])
            return out

        return read


def tape_bytes(config: DecoderConfig, tokens: int, wide: bool) -> int:
    """What a tape of so many tokens takes; `wide` for float32."""
    c = config
    heads = (c.num_attention_heads + 2 * c.num_key_value_heads) * c.head_dim
    return tokens * (4 if wide else 2) * c.num_hidden_layers * (heads + 2 * c.hidden_size + 2 * c.intermediate_size)


def pays(model: Any, tokens: int) -> bool:
    """Whether a tape of so many tokens is worth its memory: from a width of 512 on (measured: copies cost as much as
    products at 128 and 256), and an eighth of what this process may use at most.
    """
    limit = memory_limit()
    if not replays(model) or model.config.hidden_size < _WIDE:
        return False
    return limit is None or tape_bytes(model.config, tokens, model.dtype == torch.float32) <= limit // 8


def replays(model: Any) -> bool:
    """Whether a model's updates can go on from a tape: our own decoder on a CPU, with plain layers (no adapters)."""
    if type(model) is not Decoder or model.device.type != "cpu":
        return False
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    layers = (part for name, part in model.named_modules() if name.rpartition(".")[2] in names)
    return all(type(part) is nn.Linear for part in layers)
