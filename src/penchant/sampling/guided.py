"""Sampling between two prompts: logits = other + guidance (own - other), Ho and Salimans 2022, eq. 6 with 1 + w.

Each request steps as two rows that take the same token, one after each prompt. With guidance 1 it is plain sampling
from its own prompt, with 0 from the other; above 1 it writes more like its own, and unlike the other, than the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from penchant.errors import InputError
from penchant.models.decoder import Decoder
from penchant.models.frozen import Frozen
from penchant.sampling.board import Board, Face
from penchant.sampling.cache import Cache, Prompts
from penchant.sampling.options import Options, Sampled, check_prompts
from penchant.sampling.rows import Decode, Request

__all__ = ["generate_guided"]

_PAIRS = 128  # at once


def generate_guided(
    model: Decoder | Frozen,
    prompts: Sequence[Sequence[int]],
    others: Sequence[Sequence[int]],
    guidance: float,
    options: Options | None = None,
    *,
    seed: int = 0,
    first: int = 0,
    decode: Decode | None = None,
    **changes: Any,
) -> list[Sampled]:
    """Sample a completion of each pair of prompts (token ids).

    Args:
        others: what each is guided away from (the same text without its profile).
        guidance: 1 for none.
        options, seed, first, decode, changes: as `generate`; request i draws what it would there.

    Returns:
        Log-probs are those of the guided distribution, at the temperature and with the bans.

    Raises:
        InputError: as `generate`; a model that is no decoder of ours; guidance that is no finite number, or prompts
            that are not one for one.
    """
    if not isinstance(model, Decoder | Frozen):
        raise InputError("guidance needs a decoder that Penchant reads itself", "leave guidance out for this model")
    if len(prompts) != len(others) or not np.isfinite(guidance):
        raise InputError(
            f"{len(others)} other prompts for {len(prompts)}, guidance {guidance}", "give one each, a number"
        )
    how = replace(options, **changes) if options else Options(**changes)
    frozen = model if isinstance(model, Frozen) else Frozen(model)
    limit = model.config.max_position_embeddings
    for side in (prompts, others):
        check_prompts(side, how, model.config.vocab_size, limit)
    if how.stop and decode is None:
        raise InputError("stop strings need to see text", "give decode=, e.g. tokenizer.decode")
    found: dict[int, Sampled] = {}
    face = Face(lambda number, result: found.update({number: result}), None, decode)
    for start in range(0, len(prompts), _PAIRS):
        part = range(start, min(start + _PAIRS, len(prompts)))
        own, other = ([tuple(map(int, side[i])) for i in part] for side in (prompts, others))
        requests = [Request(i, p, (seed, first + i), None) for i, p in zip(part, own, strict=True)]
        _sample(frozen, requests, other, guidance, how, face)
    return [found[i] for i in range(len(prompts))]


@torch.inference_mode()
def _sample(
    model: Frozen,
    requests: Sequence[Request],
    others: Sequence[tuple[int, ...]],
    guidance: float,
    options: Options,
    face: Face,
) -> None:
    """All requests at once; rows [0, R) of the cache follow their own prompts, rows [R, 2 R) the others."""
    count, limit = len(requests), model.config.max_position_embeddings
    own = [request.prompt for request in requests]
    longest = max(map(len, (*own, *others)))
    cache = Cache(model, 2 * count, min(limit, longest + options.room))
    cache.fit(longest + 1)
    prompts = Prompts(model, [*own, *others])
    rows = torch.arange(2 * count, device=model.device)
    cache.write(prompts, rows, rows)
    states = prompts.last
    board = Board((count, model.config.vocab_size, limit), options, face, model.device)
    for row, request in enumerate(requests):
        board.begin(row, request)
    ahead = torch.tensor([len(b) - len(a) for a, b in zip(own, others, strict=True)], device=model.device)
    while True:
        logits = model.logits(states, options.q_weight).float()
        with_, without = logits.chunk(2)
        for row in board.take(without + guidance * (with_ - without)):
            board.close(int(row))
        live = np.flatnonzero(board.rows.live)
        if not len(live):
            return
        if len(live) <= len(board.rows.live) // 2:
            kept = board.keep(live)
            cache.keep(torch.cat([kept, kept + len(ahead)]))
            ahead = ahead[kept]
        last, place = board.last()
        places = torch.cat([place, (place + ahead).clamp_min(0)])
        cache.fit(int(places.max()) + 1)
        states = model.states(torch.cat([last, last]), cache.mix(places))
