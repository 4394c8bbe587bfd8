"""Writing with a model of transformers, one token a step, for samplers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from penchant.errors import InputError
from penchant.models.hugging_face import Foreign, padded

__all__ = ["Session", "begin", "pads"]


class Session:
    """Rows that are written one token at a time, keys and values kept by transformers; for samplers.

    Prompts of a causal model stand at the right of their padding, so that all rows write at the same place.

    Attributes:
        states: [rows, hidden], what answers each row's next token.
    """

    def __init__(self, model: Foreign, prompts: Sequence[Sequence[int]]):
        self.model, self.cache = model, None
        lengths = torch.tensor([len(p) for p in prompts], device=model.device)
        flat = torch.tensor([i for p in prompts for i in p], device=model.device)
        ids, mask = padded(flat, lengths)
        self.source: dict[str, Any] = {}
        if model.kind == "seq2seq":
            encoded = model.inner.get_encoder()(input_ids=ids, attention_mask=mask.long())
            self.source = {"encoder_outputs": encoded, "attention_mask": mask.long()}
            ids = torch.full_like(ids[:, :1], int(model.config.decoder_start_token_id or 0))
            mask = torch.ones_like(ids, dtype=torch.bool)
        else:
            mask = mask.flip(1)
            ids = torch.zeros_like(ids).masked_scatter(mask, flat)
        self.ids, self.mask = ids, mask.long()
        self.states = self._run(ids)

    @torch.no_grad()
    def step(self, ids: Tensor) -> Tensor:
        """Write one token [rows] a row; returns the states that answer the next."""
        self.ids = torch.cat([self.ids, ids[:, None]], dim=1)
        self.mask = torch.cat([self.mask, torch.ones_like(self.mask[:, :1])], dim=1)
        self.states = self._run(self.ids if self.cache is None else ids[:, None])
        return self.states

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only (int64, in this order)."""
        self.ids, self.mask, self.states = self.ids[rows], self.mask[rows], self.states[rows]
        if self.source:
            encoded = self.source["encoder_outputs"]
            encoded.last_hidden_state = encoded.last_hidden_state[rows]
            self.source["attention_mask"] = self.source["attention_mask"][rows]
        if self.cache is not None:
            parts = (getattr(self.cache, name, None) for name in ("self_attention_cache", "cross_attention_cache"))
            for part in [p for p in parts if p is not None] or [self.cache]:
                part.batch_select_indices(rows)

    def _run(self, ids: Tensor) -> Tensor:
        model, given = self.model, dict(self.source)
        if model.kind == "seq2seq":
            given["decoder_input_ids"] = ids
        else:
            given |= {"input_ids": ids, "attention_mask": self.mask}
            if "position_ids" in model.takes:
                given["position_ids"] = (self.mask.cumsum(1) - 1).clamp_min(0)[:, -ids.shape[1] :]
        if "past_key_values" in model.takes:
            given |= {"past_key_values": self.cache, "use_cache": True}
        states, rest = model.states(**given)
        self.cache = getattr(rest, "past_key_values", None)
        return states[:, -1]


@torch.no_grad()
def begin(model: Foreign, prompts: Sequence[Sequence[int]]) -> Session:
    """Begin to write after prompts of at least 1 token (the sources of a seq2seq model).

    Raises:
        InputError: a masked model, or prompts of different lengths for one that sees its padding.
    """
    if model.kind == "masked":
        raise InputError("a masked language model writes no text", "take a causal or a seq2seq one")
    if model.kind == "causal" and len({len(p) for p in prompts}) > 1 and not pads(model):
        raise InputError(
            f"{type(model.inner).__name__} sees padding as text", "give it prompts of one length at a time"
        )
    return Session(model, prompts)


def pads(model: Foreign) -> bool:
    """Whether padding before a text leaves its states as they are (a recurrent model may know no mask)."""
    if model.pads is None:
        alone, ragged = Session(model, [[1, 2]]).states[0], Session(model, [[1, 2], [1, 2, 1, 2]]).states[0]
        model.pads = bool((alone - ragged).norm() <= 0.03 * alone.norm())
    return model.pads
