"""Maximum likelihood of texts led by who wrote them: a control token for each attribute of the author's profile.

As CTRL (Keskar et al. 2019) conditions on a code, with dropout (Ho and Salimans 2022, "Classifier-free diffusion
guidance", algorithm 1), so that one model writes with and without a profile and can be guided between the two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.errors import InputError
from penchant.objectives.mle import Mle
from penchant.records import Document, Encoded
from penchant.runtime.random import stream
from penchant.text.control import encode_document
from penchant.text.profile import Attribute, tokens_of

__all__ = ["Options", "Profile", "build"]


class Options(BaseModel, extra="forbid"):
    """The attributes, as the tokenizer was given them, and how often they are left out."""

    attributes: dict[str, Attribute] = Field({}, description="{age: {column: age, bands: [30, 45]}, gender: {}, ...}")
    drop_all: float = Field(0.2, ge=0, le=1, description="share of texts without their profile")
    drop_each: float = Field(0.1, ge=0, le=1, description="share of each attribute left out of the others")


class Profile(Mle):
    """`Mle` of the content tokens of documents that begin with their author's tokens.

    A document is cut into windows of the stage's context; those after the first see no profile.
    """

    def __init__(self, options: Options, context: Context):
        self.options, self.context = options, context
        known = () if context.tokenizer is None else context.tokenizer.control_ids
        self.profile = tuple(token for name in options.attributes for token in known if token.startswith(f"{name}="))

    def transform(self, document: Document, number: int, heldout: bool) -> Encoded:
        """The profile's tokens, then the text's; held-out texts keep the whole profile."""
        options, tokenizer = self.options, self.context.tokenizer
        tokens = tokens_of(document.columns, options.attributes, self.profile)
        if not heldout:
            random = stream(self.context.seed, "profile", number)
            whole, each = random.random(), random.random(len(tokens))
            tokens = (
                []
                if whole < options.drop_all
                else [t for t, u in zip(tokens, each, strict=True) if u >= options.drop_each]
            )
        ids, _ = encode_document(document, tokenizer)
        lead = np.array([tokenizer.control_ids[token] for token in tokens], np.int32)
        control = np.arange(len(lead) + len(ids)) < len(lead)
        return Encoded(np.concatenate([lead, ids]), control)


def build(options: Options, context: Context) -> Any:
    """The objective.

    Raises:
        InputError: an attribute that the tokenizer has no token of.
    """
    made = Profile(options, context)
    if context.tokenizer is None:
        return made
    there = {token.partition("=")[0] for token in made.profile}
    if missing := [name for name in options.attributes if name not in there]:
        raise InputError(
            f"the tokenizer has no tokens of the profile attribute {missing[0]!r}",
            "give the tokenizer stage the same attributes",
        )
    return made
