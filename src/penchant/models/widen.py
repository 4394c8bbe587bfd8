"""Room for new tokens in a model that is trained already."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from penchant.models.decoder import Decoder
from penchant.models.hugging_face import Foreign

__all__ = ["widened"]


@torch.no_grad()
def widened(model: Any, size: int, seed: int = 0, like: Mapping[int, Sequence[int]] | None = None) -> Any:
    """A model with at least `size` tokens; new rows of embeddings and head are drawn around the mean of the old ones.

    From that mean (with their covariance, here its diagonal, by a hundredth) a new token changes the old ones'
    log-probs least (Hewitt 2021, "Initializing new word embeddings for pretrained language models"). A token that shall
    mean something from the first step on is drawn around other tokens' embeddings instead.

    Args:
        model: a `Decoder` or a `Foreign`; changed in place where it grows.
        like: new token -> the old ones whose mean its embedding begins at (with tied embeddings its head's row too).
    """
    if model.config.vocab_size >= size:
        return model
    if isinstance(model, Foreign):
        old = model.config.vocab_size
        model.inner.get_output_embeddings().__class__ = nn.Linear  # as transformers made it; `Foreign` changes it again
        model.inner.resize_token_embeddings(size, mean_resizing=False)
        for layer, named in ((model.inner.get_output_embeddings(), None), (model.inner.get_input_embeddings(), like)):
            if layer is not None:  # tied ones share their rows: the input's are written last
                layer.weight[old:] = _drawn(layer.weight[:old], size - old, seed, named)
        return Foreign(model.inner, model.kind)
    assert isinstance(model, Decoder)
    trunk = model.model
    grown = _grown(trunk.embed_tokens.weight, size, seed, like)
    trunk.embed_tokens = nn.Embedding(size, grown.shape[1], _weight=grown)
    if not model.config.tie_word_embeddings:
        head = _grown(model.lm_head.weight, size, seed + 1)
        model.lm_head = nn.Linear(head.shape[1], size, bias=False, device=head.device, dtype=head.dtype)
        model.lm_head.weight.copy_(head)
    model.config = dataclasses.replace(model.config, vocab_size=size)
    return model


def _grown(weight: Tensor, size: int, seed: int, like: Mapping[int, Sequence[int]] | None = None) -> Tensor:
    return torch.cat([weight, _drawn(weight, size - len(weight), seed, like)])


def _drawn(weight: Tensor, count: int, seed: int, like: Mapping[int, Sequence[int]] | None) -> Tensor:
    """Rows around the mean of the others, or of those that they are like, [count, width]."""
    random = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, weight.shape[1], generator=random).to(weight.device)
    wide = weight.float()
    centre = wide.mean(0).repeat(count, 1)
    for token, others in (like or {}).items():
        if token >= len(weight) and len(others):
            centre[token - len(weight)] = wide[list(others)].mean(0)
    return (centre + 0.01 * wide.std(0) * noise).to(weight.dtype)
