"""The run folder: the only file that knows what its files are called.

RUN/recipe.json environment.json timing.json log.txt report.html report.json
RUN/models/NAME/            Hugging Face folders, published when the run has ended well
RUN/stages/STAGE/           what a stage writes; `attempt.json` while it is at work, `done.json` when finished
RUN/stages/.old-STAGE/      the finished one that an unfinished attempt is about to replace
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penchant.errors import InputError
from penchant.files import read_json, write_json

__all__ = ["RunFolder", "published", "spans_total"]

Span = tuple[float, float]


@dataclass(frozen=True)
class RunFolder:
    """One run's folder."""

    path: Path

    @property
    def recipe_file(self) -> Path:
        return self.path / "recipe.json"

    @property
    def environment_file(self) -> Path:
        return self.path / "environment.json"

    @property
    def timing_file(self) -> Path:
        return self.path / "timing.json"

    @property
    def log_file(self) -> Path:
        return self.path / "log.txt"

    @property
    def models(self) -> dict[str, Path]:
        """Name -> folder of each published model."""
        found = sorted((self.path / "models").glob("*/config.json"))
        return {file.parent.name: file.parent for file in found if not file.parent.name.startswith((".", "tmp-"))}

    @property
    def report(self) -> dict[str, Any]:
        """The content of `report.json`."""
        report: dict[str, Any] = read_json(self.path / "report.json")
        return report

    def recipe(self) -> dict[str, Any] | None:
        """The resolved recipe of this run, or None if nothing ran here."""
        return _json_or_none(self.recipe_file)

    def stage(self, name: str) -> Path:
        """The folder of a stage."""
        return self.path / "stages" / name

    def done(self, name: str) -> dict[str, Any] | None:
        """What a finished stage left, or None."""
        return _json_or_none(self.stage(name) / "done.json")

    def state(self, name: str, fingerprint: str) -> str:
        """ "up to date", "go on" (an attempt of the same kind stands there) or "run"."""
        for folder in (self.stage(name), self._old(name)):
            done = _json_or_none(folder / "done.json")
            if done is not None and done.get("fingerprint") == fingerprint:
                return "up to date"
        attempt = _json_or_none(self.stage(name) / "attempt.json")
        return "go on" if attempt is not None and attempt.get("fingerprint") == fingerprint else "run"

    def begin(self, name: str, fingerprint: str) -> list[Span]:
        """Make ready the folder of a stage that has to run; the spans of time that earlier attempts took.

        A finished result of other options is kept aside until the new one is finished.
        """
        folder, old = self.stage(name), self._old(name)
        for leftover in folder.rglob(".*.tmp"):  # of a write that was killed; nobody else is at work here
            leftover.unlink(missing_ok=True)
        if self.state(name, fingerprint) == "go on":
            return [tuple(span) for span in (_json_or_none(folder / "attempt.json") or {}).get("spans", [])]
        if (folder / "done.json").exists():
            shutil.rmtree(old, ignore_errors=True)
            os.rename(folder, old)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.mark(name, fingerprint, [])
        return []

    def mark(self, name: str, fingerprint: str, spans: Iterable[Span]) -> None:
        """Write down that an attempt is at work, and when it has been."""
        write_json(self.stage(name) / "attempt.json", {"fingerprint": fingerprint, "spans": [list(s) for s in spans]})

    def finish(self, name: str, kind: str, fingerprint: str, summary: Any, spans: list[Span]) -> None:
        """Declare a stage finished: `done.json` is the last thing written."""
        done = {
            "fingerprint": fingerprint,
            "kind": kind,
            "summary": summary,
            "seconds": round(sum(end - begin for begin, end in spans), 3),
            "spans": [list(span) for span in spans],
        }
        write_json(self.stage(name) / "done.json", done)
        (self.stage(name) / "attempt.json").unlink(missing_ok=True)
        shutil.rmtree(self._old(name), ignore_errors=True)

    def restore(self, name: str) -> bool:
        """Put the finished result that an attempt was to replace back, as it was."""
        if not (self._old(name) / "done.json").exists():
            return False
        shutil.rmtree(self.stage(name), ignore_errors=True)
        os.rename(self._old(name), self.stage(name))
        return True

    def adopt(self, name: str, fingerprint: str) -> None:
        """Take the finished result that was set aside, if it is the one that is wanted again."""
        if (self.done(name) or {}).get("fingerprint") != fingerprint:
            self.restore(name)
        (self.stage(name) / "attempt.json").unlink(missing_ok=True)  # killed between `done.json` and its removal
        shutil.rmtree(self._old(name), ignore_errors=True)

    def invalidate(self, names: Iterable[str]) -> None:
        """Forget that these stages are finished, the last first, so that a kill in between forgets too little."""
        for name in reversed(list(names)):
            for file in ("done.json", "attempt.json"):
                (self.stage(name) / file).unlink(missing_ok=True)
            shutil.rmtree(self._old(name), ignore_errors=True)

    def write_timing(self, kinds: dict[str, str]) -> None:
        """Seconds of each finished stage, and of the run: stages that ran at once count once."""
        stages, spans = {}, []
        for name, kind in kinds.items():
            done = self.done(name)
            if done is not None:
                stages[name] = {"kind": kind, "seconds": done.get("seconds")}
                spans += [tuple(span) for span in done.get("spans", [])]
        write_json(self.timing_file, {"stages": stages, "total": round(spans_total(spans), 3)})

    def _old(self, name: str) -> Path:
        return self.path / "stages" / f".old-{name}"


def spans_total(spans: Iterable[Span]) -> float:
    """Length of the union of spans of time."""
    total, until = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


def published(path: Path) -> Path:
    """The model that a path means: a Hugging Face folder, a stage with `model/`, or a run (its last model).

    Raises:
        InputError: there is none.
    """
    if not path.exists():
        raise InputError("no such folder", "give a model's folder or a run's", file=path)
    for candidate in (path, path / "model"):
        if (candidate / "config.json").is_file():
            return candidate
    models = RunFolder(path).models
    order = [stage for stage in (RunFolder(path).recipe() or {}).get("stages", {}) if stage in models]
    if models:
        return models[order[-1] if order else sorted(models)[-1]]
    raise InputError("holds no model", "give a folder with config.json, or a run that has ended", file=path)


def _json_or_none(path: Path) -> dict[str, Any] | None:
    with contextlib.suppress(InputError, OSError):
        value = read_json(path)
        return value if isinstance(value, dict) else None
    return None
