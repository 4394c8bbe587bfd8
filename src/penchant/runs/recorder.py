"""What the loop asks of a run, answered with files: resume, metrics, checkpoints, the best one, the published model."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from penchant.contracts import StageContext
from penchant.files import append_json_lines, folder_aside, read_json, read_json_lines, write_json, writing
from penchant.models.load import save_model, saved_state
from penchant.runs import checkpoint
from penchant.runtime.mesh import Mesh

__all__ = ["StageRecorder"]


class StageRecorder:
    """Records one training stage in its folder.

    Args:
        best: the metric whose smallest value marks the best checkpoint (`-name` for the largest), or None for the last.
        write_tokenizer: writes the tokenizer's files into a folder.
        hooks: called with each metrics row (trackers).
        mesh: the stage's processes, each of which has a recorder; the first writes, all read.
    """

    def __init__(
        self,
        context: StageContext,
        model: Any,
        write_tokenizer: Callable[[Path], None],
        suppress: tuple[int, ...] = (),
        best: str | None = None,
        hooks: tuple[Callable[[dict[str, Any]], None], ...] = (),
        mesh: Mesh | None = None,
    ):
        self.context, self.model, self.write_tokenizer = context, model, write_tokenizer
        self.suppress, self.metric, self.hooks, self.mesh = suppress, best, hooks, mesh or Mesh.alone()
        self.best_step: int | None = None
        self.best_value = 1e300  # JSON has no infinity
        self.last_step, self.tokens = 0, 0  # of the newest checkpoint

    def decided(self, name: str, decide: Callable[[], Any]) -> Any:
        """A choice that this machine made when the stage began, kept for when it goes on: then it is the same bits."""
        chosen = None
        if self.mesh.first:
            path = self.context.folder / "decided.json"
            known = read_json(path) if path.exists() else {}
            if name not in known:
                known[name] = decide()
                write_json(path, known)
            chosen = known[name]
        return self.mesh.told(chosen)

    def resume(self) -> dict[str, Any] | None:
        """The newest good checkpoint's state, or None; lines and files from after it are cut."""
        folder, step = self.context.folder, 0
        if self.mesh.first:
            found = checkpoint.latest(folder, self.context.note)
            step = 0 if found is None else checkpoint.step_of(found)
            self._cut(step)
        step = self.mesh.told(step)
        if not step:
            return None
        state = checkpoint.load_state(folder / f"checkpoint-{step}")
        self.last_step, self.tokens = step, state["num_tokens"]
        state["model"] = saved_state(self.model, folder / f"checkpoint-{step}")
        self.best_step, self.best_value = state["best_step"], state["best_value"]
        self.context.note(f"{self.context.name}: going on from step {step}")
        if (before := state.get("processes", 1)) != (now := self.mesh.place.ranks):
            name = self.context.name
            self.context.note(f"{name}: saved by {before} process(es), now {now}: sums are rounded in another order")
        return state

    def _cut(self, step: int) -> None:
        """Leave out what was written after a step."""
        folder = self.context.folder
        for name in ("metrics.jsonl", "samples.jsonl"):
            rows = [row for row in read_json_lines(folder / name) if row["step"] <= step]
            with writing(folder / name, "w") as handle:  # whole or not at all: a kill here must not lose rows
                handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        for path in folder.glob("rollouts/*.parquet"):
            if int(path.stem) > step:
                path.unlink()

    def metrics(self, row: dict[str, Any]) -> None:
        """Append one row to metrics.jsonl and hand it to the trackers."""
        if not self.mesh.first:
            return
        append_json_lines(self.context.folder / "metrics.jsonl", [row])
        for hook in self.hooks:
            hook(row)

    def checkpoint(self, step: int, state: dict[str, Any], metrics: Mapping[str, float]) -> None:
        """Save, note whether it is the best, and remove what is no longer needed."""
        self.last_step, self.tokens = step, state["num_tokens"]
        name = (self.metric or "").removeprefix("-")
        if name in metrics:
            value = metrics[name] * (-1 if (self.metric or "").startswith("-") else 1)
            if value < self.best_value:
                self.best_step, self.best_value = step, value
        if not self.mesh.first:
            return
        state = state | {"best_step": self.best_step, "best_value": self.best_value}
        state |= {"processes": self.mesh.place.ranks}
        for file in ("metrics.jsonl", "samples.jsonl"):
            if (self.context.folder / file).exists():
                handle = os.open(self.context.folder / file, os.O_RDONLY)
                os.fsync(handle)
                os.close(handle)
        if not (self.context.folder / f"checkpoint-{step}").exists():
            checkpoint.save(self.context.folder, step, state, lambda to: self._model_files(to, state["model"]))
        checkpoint.prune(self.context.folder, best=self.best_step)

    def _model_files(self, folder: Path, weights: Mapping[str, Any]) -> None:
        save_model(self.model, folder, self.suppress, weights)
        self.write_tokenizer(folder)

    def stop(self) -> int:
        """The number of a signal that asked to stop, or 0."""
        return self.context.stop()

    def publish(self) -> int:
        """Copy the best (else the last) checkpoint's model to `model/`; returns its step."""
        return self.mesh.told(self._publish() if self.mesh.first else None)

    def _publish(self) -> int:
        folder = self.context.folder
        checkpoint.prune(folder, best=self.best_step)  # a kill between the last save and its pruning
        step = self.best_step if self.best_step is not None else checkpoint.steps(folder)[-1]
        source = folder / f"checkpoint-{step}"
        checkpoint.verify(source)
        shutil.rmtree(folder / "model", ignore_errors=True)
        with folder_aside(folder / "model") as aside:
            for path in source.iterdir():
                if path.is_file() and path.name != "manifest.json":
                    shutil.copy2(path, aside / path.name)
            if (source / "adapter").is_dir():
                shutil.copytree(source / "adapter", aside / "adapter")
        return step
