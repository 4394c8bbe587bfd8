"""Recipes of one command: the stage itself, and those before it that its inputs still need."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penchant.data.examples import peek
from penchant.errors import InputError
from penchant.runs.layout import RunFolder, published

__all__ = ["ROLES", "single_recipe"]

# What each command takes as folders, besides its stage's options.
ROLES: dict[str, tuple[str, ...]] = {
    "prepare": (),
    "tokenizer": ("data",),
    "pretrain": ("data", "tokenizer", "base"),
    "tune": ("data", "model"),
    "evaluate": ("data", "model"),
    "report": ("data", "evaluation"),
}
_MAKERS = {"data": "prepare", "tokenizer": "tokenizer", "evaluation": "evaluate"}


def single_recipe(kind: str, inputs: Mapping[str, str], alone: bool = False) -> dict[str, Any]:
    """A recipe that ends in one stage of a kind.

    Args:
        inputs: role -> folder of a finished stage, run or model; `data` may be raw files too, and `model.NAME` a
            model under a name of its own.
        alone: it needs none (it acts in an environment).
    """
    stages: dict[str, Any] = {}
    roles: dict[str, str] = {}
    for role in () if alone else ROLES[kind]:
        if (role == "tokenizer" and "base" in inputs) or (role == "base" and role not in inputs):
            continue  # an existing model has a tokenizer
        if role not in inputs and not (role == "tokenizer" and "data" in inputs):
            if role == "model" and any(name.startswith("model.") for name in inputs):
                continue
            raise InputError(f"penchant {kind} needs {role}", f"give {role}=FOLDER")
        roles[role] = _fill(role, inputs.get(role), stages, roles, kind)
    for name, folder in inputs.items():
        if name.startswith("model."):
            roles[name.removeprefix("model.")] = str(published(Path(folder)).resolve())
    stages[kind] = {"kind": kind, "inputs": roles}
    if kind == "evaluate":
        stages[kind]["models"] = {name: {"model": name} for name in roles if name != "data"}
    return {"name": kind, "stages": stages}


def _fill(role: str, given: str | None, stages: dict[str, Any], roles: Mapping[str, str], kind: str) -> str:
    """The stage or folder that fills a role of a stage of a kind; adds the stages that make it from raw files."""
    rows = kind in ("tune", "evaluate")  # files may hold rows of prompts and answers instead of texts
    if given is None:  # a tokenizer, learned from the data
        stages["tokenizer"] = {"kind": "tokenizer", "inputs": {"data": roles["data"]}}
        return "tokenizer"
    path = Path(given)
    if role in ("model", "base"):
        return str(published(path).resolve())
    for name, stage in (RunFolder(path).recipe() or {}).get("stages", {}).items():
        if stage.get("kind") in (_MAKERS[role], *(["examples"] if role == "data" and rows else [])) and RunFolder(
            path
        ).done(name):
            return str(RunFolder(path).stage(name).resolve())
    if role == "data" and not (path / "train.parquet").is_file():
        maker = "examples" if rows and peek(given) is not None else "prepare"
        stages[maker] = {"kind": maker, "path": given}
        if maker == "examples" and kind == "evaluate":  # a file of rows to measure on: all of it, no training
            stages[maker]["fractions"] = [0.0, 0.0, 1.0]
        return maker
    if not path.is_dir():
        raise InputError("no such folder", f"give {role}= the folder of a finished stage or run", file=path)
    return str(path.resolve())
