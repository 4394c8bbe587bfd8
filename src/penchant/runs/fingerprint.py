"""Fingerprints: a stage whose fingerprint has not changed need not run again."""

from __future__ import annotations

import glob
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penchant.files import stable_hash
from penchant.runs.recipe import Recipe, Stage

__all__ = ["fingerprint", "folder_hash", "paths_hash"]

_MOST_READ = 256 << 20  # bytes; above, names, sizes and times stand for the content


def fingerprint(recipe: Recipe, stage: Stage, threads: int, feeders: Mapping[str, str], version: str) -> str:
    """Hash of all that a stage's result depends on.

    Args:
        feeders: role -> fingerprint of the stage (or hash of the folder) that fills it.
    """
    return stable_hash(
        {
            "kind": stage.kind,
            "options": stage.options.model_dump(mode="json"),
            "seed": recipe.seed,
            "threads": threads,
            "inputs": dict(feeders),
            "version": version,
            "sources": _sources(stage),
            "code": _code(stage),
        }
    )


def _code(stage: Stage) -> list[str]:
    """Hashes of the user's own files that decide the result: the stage's module, and plug-ins given by path."""
    options = json.dumps(stage.options.model_dump(mode="json"))
    named = [Path(word) for word in re.findall(r'"([^"]+\.py)"', options)]
    own = [Path(str(stage.module.__file__))] if stage.kind.endswith(".py") else []
    return [stable_hash(path) for path in [*own, *named] if path.is_file()]


def _sources(stage: Stage) -> Any:
    """State of the files outside the run that a stage reads.

    A stage module may define `sources(options) -> JSON`; else the option `path` (or `paths`) is looked at.
    """
    if hasattr(stage.module, "sources"):
        return stage.module.sources(stage.options)
    found = getattr(stage.options, "path", None) or getattr(stage.options, "paths", None)
    if found is None:
        return None
    return paths_hash([str(found)] if isinstance(found, str | Path) else [str(path) for path in found])


def paths_hash(paths: list[str]) -> str:
    """Hash of what files, folders and globs hold."""
    files: list[Path] = []
    if "stdlib" in paths:  # the running interpreter's own sources
        return stable_hash([sys.version, paths_hash([path for path in paths if path != "stdlib"])])
    for pattern in paths:
        pattern = os.path.expanduser(pattern)
        for path in sorted(glob.glob(pattern, recursive=True)) or [pattern]:
            files += _files(Path(path)) if Path(path).is_dir() else [Path(path)]
    return _hash(files, None)


def folder_hash(folder: Path) -> str:
    """Hash of a folder that fills a role: a finished stage's own fingerprint, else of its files."""
    from penchant.runs.layout import RunFolder

    done = RunFolder(folder.parent.parent).done(folder.name) if (folder / "done.json").is_file() else None
    if done is not None and isinstance(done.get("fingerprint"), str):
        return str(done["fingerprint"])
    return _hash(_files(folder), folder)


def _files(folder: Path) -> list[Path]:
    found = []
    for root, folders, names in os.walk(folder):
        folders.sort()
        found += [Path(root, name) for name in sorted(names)]
    return found


def _hash(files: list[Path], base: Path | None) -> str:
    stats = [(file, _stat(file)) for file in files]
    read = sum(stat.st_size for _, stat in stats if stat is not None) <= _MOST_READ
    parts: list[Any] = []
    for file, stat in stats:
        name = str(file if base is None else file.relative_to(base))
        if stat is None or not file.is_file():
            parts.append([name])
        elif read and os.access(file, os.R_OK):
            parts.append([name, stable_hash(file)])
        else:
            parts.append([name, stat.st_size, stat.st_mtime_ns])
    return stable_hash(parts)


def _stat(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except OSError:
        return None
