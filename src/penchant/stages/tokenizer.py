"""Train a byte-level BPE tokenizer on the training texts."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from penchant.contracts import StageContext
from penchant.data.store import read_documents
from penchant.errors import InputError
from penchant.text.tokenizer import Tokenizer

__all__ = ["INPUTS", "Options", "plan", "run"]

INPUTS = ("data",)


class Options(BaseModel):
    """Options of the stage."""

    model_config = ConfigDict(extra="forbid")
    vocab_size: int = Field(2048, ge=260, description="tokens at most, control tokens included")


def run(options: Options, context: StageContext) -> dict[str, Any]:
    """Write the tokenizer into the stage's folder.

    Returns:
        `vocab_size`, and `characters_per_token` of the validation texts.
    """
    if "data" not in context.inputs:
        raise InputError(f"stage {context.name} has no input `data`", "give inputs: {data: STAGE}")
    folder = context.inputs["data"]
    tokenizer = Tokenizer.train([d.text for d in read_documents(folder / "train.parquet")], options.vocab_size)
    tokenizer.save(context.folder)
    texts = [d.text for d in read_documents(folder / "validation.parquet")]
    tokens = sum(map(len, tokenizer.encode_batch(texts)))
    return {"vocab_size": tokenizer.vocab_size, "characters_per_token": sum(map(len, texts)) / max(1, tokens)}


def plan(options: Options, context: StageContext) -> dict[str, Any]:
    """What a run would do."""
    return {"vocab_size": options.vocab_size}
