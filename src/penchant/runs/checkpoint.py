"""Checkpoints: a Hugging Face folder, `state/` (safetensors and JSON) and a manifest, whole or absent.

Written aside, synced and renamed; never overwritten; the last two and the best are kept; "latest" is computed. Loading
verifies every file's SHA-256 and falls back to the checkpoint before, saying why.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from penchant.errors import CorruptCheckpoint
from penchant.files import folder_aside, read_json, stable_hash, write_json
from penchant.models.load import read_tensors, write_tensors

__all__ = ["latest", "load_state", "prune", "save", "verify"]


def _flatten(value: Any, tensors: dict[str, torch.Tensor], path: str) -> Any:
    if isinstance(value, torch.Tensor):
        tensors[path] = value.clone() if any(value.data_ptr() == t.data_ptr() for t in tensors.values()) else value
        return {"__tensor__": path}
    if isinstance(value, Mapping):
        return {
            "__map__": [[k, _flatten(v, tensors, f"{path}.{k}")] for k, v in value.items()]
        }  # keys keep their type: optimizers count parameters by int
    if isinstance(value, list | tuple):
        return [_flatten(v, tensors, f"{path}.{i}") for i, v in enumerate(value)]
    return value


def _restore(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(value, dict):
        if "__tensor__" in value:
            return tensors[value["__tensor__"]]
        return {k: _restore(v, tensors) for k, v in value["__map__"]}
    return [_restore(v, tensors) for v in value] if isinstance(value, list) else value


def save(folder: Path, step: int, state: Mapping[str, Any], write_model: Callable[[Path], None]) -> Path:
    """Write `folder/checkpoint-STEP`.

    Args:
        state: nested dicts and lists of tensors, numbers and strings; its "model" entry is left to `write_model`.
        write_model: writes the Hugging Face files into the folder it is given.
    """
    target = folder / f"checkpoint-{step}"
    with folder_aside(target) as aside:
        write_model(aside)
        (aside / "state").mkdir()
        tensors: dict[str, torch.Tensor] = {}
        tree = _flatten({k: v for k, v in state.items() if k != "model"}, tensors, "state")
        write_tensors(aside / "state" / "tensors.safetensors", tensors)
        write_json(aside / "state" / "state.json", tree)
        files = sorted(p for p in aside.rglob("*") if p.is_file())
        write_json(aside / "manifest.json", {str(p.relative_to(aside)): stable_hash(p) for p in files})
    return target


def verify(checkpoint: Path) -> None:
    """Check every file against the manifest.

    Raises:
        CorruptCheckpoint: a file is missing or differs, or there is no manifest.
    """
    manifest = checkpoint / "manifest.json"
    if not manifest.is_file():
        raise CorruptCheckpoint("has no manifest.json", "use an earlier checkpoint", file=checkpoint)
    for name, digest in read_json(manifest).items():
        path = checkpoint / name
        if not path.is_file():
            raise CorruptCheckpoint("is missing", "restore it, or use an earlier checkpoint", file=path)
        if stable_hash(path) != digest:
            raise CorruptCheckpoint(
                "differs from its manifest (truncated or changed)",
                "restore it, or use an earlier checkpoint",
                file=path,
            )


def steps(folder: Path) -> list[int]:
    """The steps of all whole checkpoints, ascending; half-written ones have another name."""
    return sorted(step_of(p) for p in folder.glob("checkpoint-*"))


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint's name says."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def latest(folder: Path, note: Callable[[str], None] = lambda _: None) -> Path | None:
    """The newest checkpoint that passes its manifest, or None where there is none at all.

    Raises:
        CorruptCheckpoint: there are checkpoints, and none passes.
    """
    bad: list[Path] = []
    failure: CorruptCheckpoint | None = None
    for step in reversed(steps(folder)):
        path = folder / f"checkpoint-{step}"
        try:
            verify(path)
        except CorruptCheckpoint as error:
            note(f"{error}: going back to the checkpoint before")
            failure = failure or error
            bad.append(path)
            continue
        for one in bad:  # kept for a look, under a name that is never taken for a checkpoint
            aside = one.with_name(f"corrupt-{one.name}")
            shutil.rmtree(aside, ignore_errors=True)
            one.rename(aside)
        return path
    if failure is not None:
        raise failure
    return None


def load_state(checkpoint: Path) -> dict[str, Any]:
    """All that `save` was given but for the model."""
    tree = read_json(checkpoint / "state" / "state.json")
    state: dict[str, Any] = _restore(tree, read_tensors(checkpoint / "state" / "tensors.safetensors"))
    return state


def prune(folder: Path, keep: int = 2, best: int | None = None) -> None:
    """Remove all but the newest `keep` checkpoints and the best."""
    for leftover in folder.glob("tmp-old-*"):
        shutil.rmtree(leftover)
    found = steps(folder)
    for step in found[:-keep] if keep else found:
        if step != best:
            doomed = folder / f"tmp-old-{step}"  # half-removed, it must not look like a checkpoint
            os.rename(folder / f"checkpoint-{step}", doomed)
            shutil.rmtree(doomed)
