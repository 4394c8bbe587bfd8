"""Which folder a run has: the one that its options had before, else the next free one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from penchant.errors import InputError
from penchant.files import lock
from penchant.runs.layout import RunFolder
from penchant.runs.recipe import Recipe

__all__ = ["same_run", "taken_folder", "taking_folder"]


@contextlib.contextmanager
def taking_folder(recipe: Recipe) -> Iterator[tuple[RunFolder, int]]:
    """Choose the run's folder and hold it; yields the folder and the lock's descriptor.

    Raises:
        RunLocked: another process is using it.
        InputError: it cannot be written.
    """
    for path in _candidates(recipe):
        if not _suits(recipe, path):
            continue
        _make(path)
        with lock(path) as handle:
            if _suits(recipe, path):  # another process may have taken it while we waited
                yield RunFolder(path), handle
                return


def taken_folder(recipe: Recipe) -> RunFolder:
    """The folder that a run would take, without making it."""
    return RunFolder(next(path for path in _candidates(recipe) if _suits(recipe, path)))


def same_run(recipe: Recipe, saved: dict[str, Any]) -> bool:
    """Whether a saved recipe has the same options."""
    return {key: saved.get(key) for key in ("seed", "stages")} == recipe.identity()


def _candidates(recipe: Recipe) -> Iterator[Path]:
    if recipe.run_dir is not None:
        yield Path(recipe.run_dir)
        return
    yield Path("runs", recipe.name)
    for number in range(2, 10_000):
        yield Path("runs", f"{recipe.name}-{number}")


def _suits(recipe: Recipe, path: Path) -> bool:
    saved = RunFolder(path).recipe()
    return recipe.run_dir is not None or saved is None or same_run(recipe, saved)


def _make(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (
            "is a file"
            if isinstance(error, FileExistsError | NotADirectoryError)
            else f"cannot be made ({error.strerror})"
        )
        raise InputError(reason, "give another run_dir=", file=path) from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise InputError("cannot be written to", "mend its permissions, or give another run_dir=", file=path)
