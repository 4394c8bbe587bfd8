"""A model with its tokenizer, ready to use: `load(folder)` gives `.generate`, `.logprobs` and `.score`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from penchant import registry
from penchant.contracts import Context
from penchant.errors import InputError
from penchant.models.decoder import Decoder
from penchant.models.gguf import find_gguf
from penchant.models.heads import load_heads
from penchant.models.load import load_model, load_tokenizer
from penchant.models.quantities import sequence_logprobs
from penchant.records import Segment
from penchant.runs.layout import published
from penchant.sampling.engine import generate
from penchant.sampling.guided import generate_guided
from penchant.text.conditioning import Conditioning
from penchant.text.profile import attributes_of
from penchant.text.tokenizer import Tokenizer

__all__ = ["Policy", "load"]


def _before(text: str, stop: Sequence[str]) -> str:
    """A text up to the first of the strings in it."""
    return text[: min((at for s in stop if (at := text.find(s)) >= 0), default=len(text))]


class Policy:
    """A decoder, its tokenizer, and what it was trained on (`layout`: control tokens, and what they lead)."""

    def __init__(self, model: Decoder, tokenizer: Tokenizer, folder: Path):
        self.model, self.tokenizer, self.folder = model, tokenizer, folder
        self.layout = Conditioning.load(folder, tokenizer)

    def _prompt(self, text: str, ask: str | None, profile: Sequence[str] = ()) -> list[int]:
        """Ids of a prompt, led by a profile's tokens; with `ask`, each segment is led by the control token, as in
        training.
        """
        head = [self.tokenizer.eos_id, *(self.tokenizer.control_ids[name] for name in profile)]
        if ask is None:
            return head + self.tokenizer.encode(text)
        control = self.control(ask)
        for segment in self.layout.pieces(text):
            head += [control, *self.tokenizer.encode(segment)]
        return head if text and head[-1] not in self.layout.after else [*head, control]

    def control(self, ask: str) -> int:
        """The id of a control token.

        Raises:
            InputError: the model was not trained with it.
        """
        self.layout.require(ask, self.folder)
        return self.tokenizer.control_ids[ask]

    def generate(
        self,
        prompts: str | Sequence[str],
        max_new_tokens: int = 64,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        n: int = 1,
        ask: str | None = None,
        seed: int = 0,
        stop: Sequence[str] = (),
        profile: Sequence[str] = (),
        guidance: float | None = None,
        **options: Any,
    ) -> list[str]:
        """Sample `n` completions of each prompt; the texts come in the prompts' order, n in a row.

        Args:
            stop: strings that end a text; it is cut before the first of them.
            profile: who is to be writing: `age=60+`, `interests=hiking` ..., of those that the model was trained with.
            guidance: how strongly: 1 as the model has it, above 1 more so (away from the same without a profile).
            options: further ones of `sampling.Options`: min_p, repetition_penalty, min_new_tokens ...; unless given,
                `q_weight` is that of the model's `penchant.json`.
            ask: a control token (`good`, `bad`) that leads each segment (line, sentence or document, as in training),
                in the prompt and while sampling.

        Raises:
            InputError: a prompt does not fit the context, an option is out of range, there is no such control token or
                profile, or guidance without one.
        """
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        tokenizer = self.tokenizer
        who = attributes_of(profile, self.layout.profile)
        if guidance is not None and not who:
            raise InputError("guidance without a profile", "give profile, e.g. age=60+")
        asked = [self._prompt(text, ask, who) for text in texts for _ in range(n)]
        sample: Any = functools.partial(generate, self.model, asked)
        if guidance is not None:
            plain = [self._prompt(text, ask) for text in texts for _ in range(n)]
            sample = functools.partial(generate_guided, self.model, asked, plain, guidance)
        found = sample(
            max_new_tokens=max_new_tokens,
            end=self._ends(),
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            ban=[i for i in tokenizer.special_ids if i not in self._ends()],
            insert=self.layout.insertions(tokenizer, ask),
            seed=seed,
            stop=stop,
            decode=tokenizer.decode,
            **{"q_weight": self.layout.q_weight, **options},
        )
        return [_before(tokenizer.decode(list(s.ids)), stop) for s in found]

    def _ends(self) -> list[int]:
        """Tokens that end a text: the tokenizer's, and those that the model's config names."""
        named = self.model.config.eos_token_id
        return sorted({self.tokenizer.eos_id, *(named if isinstance(named, list) else [named])} - {None})

    def logprobs(self, texts: Sequence[str], profile: Sequence[str] = ()) -> list[np.ndarray]:
        """The log-prob (nats) of each token of each text, given those before: float32 [tokens].

        Args:
            profile: who is to have written them, as in `generate`; its own tokens are given, not counted.

        Raises:
            InputError: there is no such profile.
        """
        who = attributes_of(profile, self.layout.profile)
        found = sequence_logprobs(self.model, [self._prompt(text, None, who) for text in texts])
        return [row[len(who) :] for row in found]

    def score(self, texts: Sequence[str], signal: str = "style", **options: Any) -> list[list[float]]:
        """What a preference signal says of each segment (cut as in training) of each text, higher is better."""
        module = registry.load("signals", signal)
        score = module.build(module.Options(**options), Context())
        found = []
        for text in texts:
            pieces = self.layout.pieces(text)
            starts = np.cumsum([0, *map(len, pieces)])
            found.append(score([Segment(piece, int(start)) for piece, start in zip(pieces, starts, strict=False)]))
        return found


def load(folder: str | Path, dtype: str = "auto", device: str = "auto") -> Policy:
    """Load a model folder or a `.gguf` file, or a run folder's or stage folder's `model/`.

    Args:
        dtype: `auto` keeps the saved format; `bfloat16` or `float32` converts.

    Raises:
        InputError: there is no model there. CorruptCheckpoint: it cannot be read.
    """
    from penchant.runtime.device import device_name
    from penchant.runtime.precision import resolve_dtype

    inner = find_gguf(Path(folder)) or published(Path(folder))
    kind = None if dtype == "auto" else resolve_dtype(dtype)
    model = load_model(inner, kind, device_name(device))
    load_heads(model, inner)
    return Policy(model, load_tokenizer(inner), inner)
