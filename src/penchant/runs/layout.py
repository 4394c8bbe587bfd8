"""The run folder: with `stage_folder`, the only files that know what its files are called.

RUN/recipe.json environment.json timing.json log.txt report.html report.json
RUN/models/NAME/   Hugging Face folders, published when the run has ended well
RUN/stages/STAGE/  what a stage wrote (see `stage_folder`)
RUN/again.json     the stages that `--from` asked to be made again, until they have been
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penchant.errors import InputError
from penchant.files import read_json, write_json
from penchant.runs.stage_folder import Span, StageFolder, json_or_none

__all__ = ["RunFolder", "published", "spans_total"]


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
        return {file.parent.name: file.parent for file in found if "." not in file.parent.name}  # mle, not mle.new

    @property
    def report(self) -> dict[str, Any]:
        """The content of `report.json`."""
        report: dict[str, Any] = read_json(self.path / "report.json")
        return report

    def recipe(self) -> dict[str, Any] | None:
        """The resolved recipe of this run, or None if nothing ran here."""
        return json_or_none(self.recipe_file)

    def stage(self, name: str) -> Path:
        """The folder of a stage's finished result."""
        return self.place(name).path

    def place(self, name: str) -> StageFolder:
        """The folders of a stage."""
        return StageFolder(self.path / "stages" / name)

    def done(self, name: str) -> dict[str, Any] | None:
        """What a finished stage left, or None."""
        return self.place(name).done()

    def state(self, name: str, fingerprint: str) -> str:
        """ "up to date", "go on" (an attempt of the same kind stands there) or "run"."""
        finished = (self.done(name) or {}).get("fingerprint") == fingerprint
        if finished and not self.pending({name: fingerprint}):
            return "up to date"
        return "go on" if self.place(name).attempted(fingerprint) else "run"

    @property
    def again_file(self) -> Path:
        return self.path / "again.json"

    def again(self) -> dict[str, dict[str, Any]]:
        """Stages that were asked to be made again: stage -> {from, fingerprint, made}."""
        return json_or_none(self.again_file) or {}

    def pending(self, prints: Mapping[str, str]) -> list[str]:
        """Those of the stages (with their fingerprints) that were asked to be made again and have not been yet."""
        asked = {name: entry for name, entry in self.again().items() if entry["fingerprint"] == prints.get(name)}
        return [name for name, entry in asked.items() if self.place(name).made() < entry["made"]]

    def going_on(self, chosen: Sequence[str], prints: Mapping[str, str]) -> bool:
        """Whether a call that has not ended well asked to make these again: the same call goes on with its work."""
        asked = self.again().items()
        return any(entry["from"] == sorted(chosen) and entry["fingerprint"] == prints.get(n) for n, entry in asked)

    def make_again(self, chosen: Sequence[str], names: Sequence[str], prints: Mapping[str, str]) -> None:
        """Write down that stages are to be made again from the start; what they left stands until it is replaced.

        Args:
            chosen: the stages that were asked for; `names` are these and all that depend on them.
        """
        if not names or self.going_on(chosen, prints):
            return
        asked = {name: entry for name, entry in self.again().items() if name in self.pending(prints)}
        for name in names:
            self.place(name).discard()
            made = self.place(name).made() + 1
            asked[name] = {"from": sorted(chosen), "fingerprint": prints[name], "made": made}
        self.note_again(asked)

    def note_again(self, asked: Mapping[str, Any]) -> None:
        """Write what is to be made again; no file where there is nothing."""
        if asked:
            write_json(self.again_file, asked)
        else:
            self.again_file.unlink(missing_ok=True)

    def made_again(self) -> None:
        """A call has ended well: keep a note only of what it was not to do, as of nobody's asking."""
        left = {name: entry for name, entry in self.again().items() if self.place(name).made() < entry["made"]}
        self.note_again({name: {**entry, "from": []} for name, entry in left.items()})

    def write_timing(self, kinds: dict[str, str]) -> None:
        """Seconds of each finished stage, and of the run: stages that ran at once count once."""
        stages, spans = {}, []
        for name, kind in kinds.items():
            done = self.done(name)
            if done is not None:
                stages[name] = {"kind": kind, "seconds": done.get("seconds")}
                spans += [tuple(span) for span in done.get("spans", [])]
        write_json(self.timing_file, {"stages": stages, "total": round(spans_total(spans), 3)})


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
