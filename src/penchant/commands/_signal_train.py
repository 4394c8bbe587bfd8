"""What `penchant signal train` shows of a trained signal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from penchant import console
from penchant.errors import OptionError
from penchant.stages._classifier import COLUMNS, table
from penchant.stages.signal import EncoderOptions

__all__ = ["encoder_options", "show"]


def encoder_options(folder: str | None, options: Sequence[str] | None) -> EncoderOptions | None:
    """What `--encoder` and `--set` say.

    Raises:
        OptionError: an unknown option, or a wrong value.
    """
    if folder is None:
        if options:
            raise OptionError("--set is of --encoder", "give --encoder MODEL_DIR, or leave it out")
        return None
    given = {key: value for key, _, value in (one.partition("=") for one in options or [])}
    try:
        return EncoderOptions(folder=folder, **given)
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(name for name in EncoderOptions.model_fields if name != "folder")
        raise OptionError(f"--set {'.'.join(map(str, first['loc']))}: {first['msg']}", f"there are {known}") from error


def show(found: Mapping[str, Any]) -> None:
    """The findings for people."""
    rows: list[tuple[str, Any]] = [(name, found["texts"][name]) for name in ("train", "validation", "test")]
    rows += [(f"label {name}", f"{share:.1%}") for name, share in found["label_shares"].items()]
    rows += [(f"left out: {cause}", count) for cause, count in found["left_out"].items()]
    console.table(rows, ("texts", ""))
    console.table(table(found), COLUMNS)
    if found["ceiling"] is not None:
        console.note(f"ceiling: one rater agrees with the others' majority {found['ceiling']:.3f} of the time")
    console.note(f"signal: {{name: classifier, model: {found['folder']}}}; its card: {found['folder']}/README.md")
