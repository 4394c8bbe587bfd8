"""Train a signal from labelled texts: a classifier that stages after it name as `{name: classifier, model: STAGE}`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from penchant.contracts import StageContext

__all__ = ["INPUTS", "Options", "run"]

INPUTS = ()


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


def run(options: Options, context: StageContext) -> dict[str, Any]:
    """Write the classifier, `card.json` and `README.md` with how well it agrees with people.

    Raises:
        InputError, DataRejected: a file or column is wrong, too many rows are bad, or there is one label alone.
        MissingExtra: scikit-learn is not installed.
    """
    from penchant.stages._classifier import go

    o = options
    found = go(o.path, str(context.folder), o.text, o.label, o.values, o.validation, o.test, o.also, o.soft)
    return {"texts": found["texts"], "accuracy": found["test"]["accuracy"][0], "macro_f1": found["test"]["macro_f1"][0]}
