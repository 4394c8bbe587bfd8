"""Train a byte-level BPE tokenizer on the training texts."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from penchant.contracts import StageContext
from penchant.data.store import read_documents
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
    documents = read_documents(folder / "train.parquet")
    known = known_values([d.columns for d in documents], options.attributes)
    control = (GOOD, BAD, *(f"{name}={value}" for name, values in known.items() for value in values))
    tokenizer = Tokenizer.train([d.text for d in documents], options.vocab_size, control)
    tokenizer.save(context.folder)
    for name, values in known.items():
        context.note(f"{context.name}: profile {name}: " + ", ".join(f"{value} ({n})" for value, n in values.items()))
    texts = [d.text for d in read_documents(folder / "validation.parquet")]
    tokens = sum(map(len, tokenizer.encode_batch(texts)))
    told = {"profile": known} if known else {}
    return {"vocab_size": tokenizer.vocab_size, "characters_per_token": sum(map(len, texts)) / max(1, tokens), **told}


def plan(options: Options, context: StageContext) -> dict[str, Any]:
    """What a run would do."""
    return {"vocab_size": options.vocab_size}
