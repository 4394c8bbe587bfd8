"""Refuse a recipe whose stages cannot work together, before any of them runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penchant.contracts import Complaint, Feed
from penchant.errors import OptionError
from penchant.options import Given, behind, nearest, shortened

if TYPE_CHECKING:
    from penchant.runs.recipe import Stage

__all__ = ["feeds_of", "refuse"]


def refuse(stages: Mapping[str, Stage], givens: Mapping[str, Sequence[Given]], place: str) -> None:
    """Ask each stage, in order, what is wrong with its inputs and options.

    Args:
        givens: stage -> what was given for it, to say where a wrong value stands.
        place: the recipe's file, if it has one.

    Raises:
        OptionError: an input is missing or unknown, or a value cannot work; the first of several.
    """
    for name, stage in stages.items():
        roles: tuple[Any, ...] = getattr(stage.module, "INPUTS", (...,))
        if hasattr(stage.module, "inputs"):
            roles = stage.module.inputs(stage.options, stage.inputs)
        for role in roles:
            if role is not ... and role not in stage.inputs:
                mend = f"give inputs: {{{role}: STAGE}}"
                raise OptionError(f"stage {name!r} has no input {role!r}", mend, file=place or None)
        for role in stage.inputs:
            if ... not in roles and role not in roles:
                mend = nearest(role, roles)
                raise _wrong(f"stage {name!r} takes no input {role!r}", mend, ("inputs", role), givens[name], place)
        check = getattr(stage.module, "check", None)
        for complaint in check(stage.options, feeds_of(stage, stages)) if check else ():
            raise _refused(stage, complaint, givens[name], place)


def feeds_of(stage: Stage, stages: Mapping[str, Stage]) -> dict[str, Feed | Path]:
    """What fills each of a stage's inputs."""

    def feed(feeder: str) -> Feed | Path:
        if feeder not in stages:
            return Path(feeder)
        return Feed(stages[feeder].kind, stages[feeder].options, feeds_of(stages[feeder], stages))

    return {role: feed(feeder) for role, feeder in stage.inputs.items()}


def _refused(stage: Stage, complaint: Complaint, givens: Sequence[Given], place: str) -> OptionError:
    key, mend = complaint
    path = tuple(key.split("."))
    value: Any = stage.options.model_dump(mode="json")
    for part in path:
        value = value[part]
    return _wrong(f"option {f'{stage.name}.{key}'!r} is {shortened(value)}", mend, path, givens, place)


def _wrong(problem: str, mend: str, path: tuple[str, ...], givens: Sequence[Given], place: str) -> OptionError:
    given = behind(path, list(givens))
    return given.wrong(problem, mend) if given else OptionError(f"{problem} (default)", mend, file=place or None)
