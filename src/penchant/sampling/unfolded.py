"""Sampling from models of transformers: padded rows, keys and values kept by transformers; slower, the same face.

Requests go in parts of as many rows as asked for; rows that end are dropped, and the part ends with its last one. A
prompt that several requests of a part share is run once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from penchant.errors import InputError
from penchant.models.heads import perturbed, target_layers
from penchant.models.hugging_face import Foreign
from penchant.models.quantities import sequence_logprobs
from penchant.models.session import begin, pads
from penchant.sampling.board import Board, Face
from penchant.sampling.options import Options
from penchant.sampling.rows import Request

__all__ = ["run"]


def run(model: Foreign, requests: Sequence[Request], options: Options, slots: int, face: Face) -> None:
    """Sample requests, `slots` rows at a time. For a seq2seq model a prompt is the source, and the text its target.

    Raises:
        InputError: prompt log-probs of a seq2seq model, or a target that does not fit its positions.
    """
    if model.kind == "seq2seq":
        if options.prompt_logprobs:
            raise InputError("a sequence-to-sequence model gives its source no log-probs", "leave prompt_logprobs out")
        if options.max_new_tokens >= model.config.max_position_embeddings:
            raise InputError(
                f"{options.max_new_tokens} new tokens pass {model.config.max_position_embeddings} positions",
                "shorten max_new_tokens",
            )
    for alike in _alike(model, requests):
        for first in range(0, len(alike), slots):
            if face.stopped():
                return
            _part(model, alike[first : first + slots], options, face)


def _alike(model: Foreign, requests: Sequence[Request]) -> list[list[Request]]:
    """Requests that may be padded together: those of one length, for a model that takes padding for text."""
    lengths = sorted({len(r.prompt) for r in requests})
    if model.kind != "causal" or len(lengths) < 2 or pads(model):  # a masked model is refused later
        return [list(requests)]
    return [[r for r in requests if len(r.prompt) == length] for length in lengths]


def _logits(model: Foreign, states: Tensor, q_weight: float) -> Tensor:
    """[rows, vocabulary] of states [rows, hidden]."""
    found = F.linear(states, model.head, model.head_bias)
    if not q_weight:
        return found
    return perturbed(found, [layer(states) for layer in target_layers(model)], q_weight)


@torch.no_grad()
def _part(model: Foreign, requests: Sequence[Request], options: Options, face: Face) -> None:
    unique = list(dict.fromkeys(r.prompt for r in requests))
    number = {prompt: i for i, prompt in enumerate(unique)}
    at = np.array([number[r.prompt] for r in requests])
    session = begin(model, unique)
    session.keep(torch.as_tensor(at, device=model.device))
    if options.prompt_logprobs and options.q_weight:
        raise InputError("a prompt's log-probs are the model's own", "leave prompt_logprobs or q_weight out")
    scored = sequence_logprobs(model, unique, options.temperature or 1.0) if options.prompt_logprobs else None  # type: ignore[arg-type]
    sizes = len(requests), model.config.vocab_size, model.config.max_position_embeddings
    board = Board(sizes, options, face, model.device)
    for row, request in enumerate(requests):
        target = model.kind == "seq2seq"  # the text begins with the decoder's start, not with the source
        board.begin(row, replace(request, prompt=(model.config.decoder_start_token_id or 0,)) if target else request)
    while not face.stopped():
        for row in board.take(_logits(model, session.states, options.q_weight)):
            board.close(int(row), prompt_logprobs=None if scored is None else scored[at[row]])
        live = np.flatnonzero(board.rows.live)
        if not len(live):
            return
        if len(live) < len(at):
            session.keep(board.keep(live))
            at = at[live]
        session.step(board.last()[0])
