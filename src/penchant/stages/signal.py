"""Train a signal from labelled texts: a classifier that stages after it name as `{name: classifier, model: STAGE}`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from penchant.contracts import StageContext
from penchant.runtime.names import DeviceName

__all__ = ["INPUTS", "EncoderOptions", "Options", "run"]

INPUTS = ()


class EncoderOptions(BaseModel, extra="forbid"):
    """A model whose states are read, and how it is fine-tuned with a head for the labels."""

    folder: str = Field(description="a Hugging Face folder: BERT and the like, or a decoder")
    epochs: int = Field(3, ge=1)
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(2e-5, gt=0, allow_inf_nan=False)
    max_length: int = Field(128, ge=4, description="tokens of a text; the rest is cut off, and counted")
    seed: int = Field(0, ge=0)
    device: DeviceName = "auto"


class Options(BaseModel, extra="forbid"):
    """Options of the stage; those of `penchant signal train`."""

    path: str = Field(description="a file of texts and labels")
    text: str = Field("text", description="column of the text, or several: A,B")
    label: str = Field("label", description="column of the label, or several: the first that a row has")
    values: dict[str, str] = Field({}, description="labels as they stand: what they count as (empty: left out)")
    validation: str | None = Field(None, description="a file of its own; else cut from path")
    test: str | None = Field(None, description="a file of its own; else cut from path")
    also: list[str] = Field([], description="other sets to judge it on")
    soft: bool = Field(True, description="learn from a column `probabilities` where rows have it")
    encoder: EncoderOptions | None = Field(None, description="a model to fine-tune; null: linear, of n-grams")


def run(options: Options, context: StageContext) -> dict[str, Any]:
    """Write the classifier, `card.json` and `README.md` with how well it agrees with people.

    Raises:
        InputError, DataRejected: a file or column is wrong, too many rows are bad, or there is one label alone.
        MissingExtra: scikit-learn is not installed.
        Stopped: asked to stop while an encoder is trained; the same call goes on.
    """
    from penchant.stages._classifier import go

    o = options
    found = go(
        o.path,
        str(context.folder),
        o.text,
        o.label,
        o.values,
        o.validation,
        o.test,
        o.also,
        o.soft,
        o.encoder,
        context.stop,
    )
    return {"texts": found["texts"], "accuracy": found["test"]["accuracy"][0], "macro_f1": found["test"]["macro_f1"][0]}
