"""Train a byte-level BPE tokenizer on the training texts."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from penchant.contracts import StageContext
from penchant.data.store import each_document
from penchant.errors import InputError
from penchant.text.control import BAD, GOOD
from penchant.text.profile import Attribute, known_values
from penchant.text.tokenizer import Tokenizer

__all__ = ["INPUTS", "Options", "plan", "run"]

INPUTS = ("data",)


class Options(BaseModel):
    """Options of the stage."""

    model_config = ConfigDict(extra="forbid")
    vocab_size: int = Field(2048, ge=260, description="tokens at most, control tokens included")
    attributes: dict[str, Attribute] = Field(
        {},
        description="of authors' profiles, a control token a value: {age: {column: age, bands: [30, 45]}, place: {}}",
    )


def run(options: Options, context: StageContext) -> dict[str, Any]:
    """Write the tokenizer into the stage's folder.

    Returns:
        `vocab_size`, `characters_per_token` of the validation texts, and how many texts have each value of a profile.
    """
    if "data" not in context.inputs:
        raise InputError(f"stage {context.name} has no input `data`", "give inputs: {data: STAGE}")
    folder = context.inputs["data"]
    known = known_values((d.columns for d in each_document(folder / "train.parquet")), options.attributes)
    control = (GOOD, BAD, *(f"{name}={value}" for name, values in known.items() for value in values))
    tokenizer = Tokenizer.train((d.text for d in each_document(folder / "train.parquet")), options.vocab_size, control)
    tokenizer.save(context.folder)
    for name, values in known.items():
        context.note(f"{context.name}: profile {name}: " + ", ".join(f"{value} ({n})" for value, n in values.items()))
    characters, tokens = 0, 0
    for document in each_document(folder / "validation.parquet"):
        characters, tokens = characters + len(document.text), tokens + len(tokenizer.encode(document.text))
    told = {"profile": known} if known else {}
    return {"vocab_size": tokenizer.vocab_size, "characters_per_token": characters / max(1, tokens), **told}


def plan(options: Options, context: StageContext) -> dict[str, Any]:
    """What a run would do."""
    return {"vocab_size": options.vocab_size}
