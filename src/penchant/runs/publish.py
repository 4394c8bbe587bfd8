"""Put what people want to find at the top of a run: its models by name, and its report."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from penchant.files import folder_aside, writing
from penchant.runs.layout import RunFolder
from penchant.runs.stage_folder import swap

__all__ = ["publish"]

_REPORT = ("report.html", "report.json")


def publish(run: RunFolder, stages: list[str]) -> None:
    """Publish the models and reports of finished stages, each replaced whole."""
    for name in stages:
        folder = run.stage(name)
        if (folder / "model" / "config.json").is_file():
            _replace(folder / "model", run.path / "models" / name)
        for file in _REPORT:
            if (folder / file).is_file() and not _same(folder / file, run.path / file):
                with open(folder / file, "rb") as source, writing(run.path / file) as target:
                    shutil.copyfileobj(source, target)


def _replace(source: Path, target: Path) -> None:
    """Make `target` the same folder as `source`; hard links where the file system has them."""
    if _same_folder(source, target):
        shutil.rmtree(target.with_name(f"{target.name}.old"), ignore_errors=True)
        return
    new = target.with_name(f"{target.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    with folder_aside(new) as aside:
        for item in sorted(source.rglob("*")):
            place = aside / item.relative_to(source)
            if item.is_dir():
                place.mkdir(parents=True, exist_ok=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                _link(item, place)
    swap(new, target)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, target)


def _same_folder(source: Path, target: Path) -> bool:
    names = [{str(p.relative_to(folder)) for p in folder.rglob("*")} for folder in (source, target)]
    return target.is_dir() and names[0] == names[1] and all(_same(source / n, target / n) for n in names[0])


def _same(one: Path, other: Path) -> bool:
    with contextlib.suppress(OSError):
        if one.is_dir() and other.is_dir():
            return True
        a, b = one.stat(), other.stat()
        return os.path.samestat(a, b) or (a.st_size == b.st_size and one.read_bytes() == other.read_bytes())
    return False
