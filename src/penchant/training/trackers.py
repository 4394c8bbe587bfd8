"""Metrics to TensorBoard, W&B, MLflow or trackio where asked for; a tracker that fails is dropped aloud."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from penchant.errors import MissingExtra

__all__ = ["TrackerName", "hooks"]

TrackerName = Literal["tensorboard", "wandb", "mlflow", "trackio"]
Hook = Callable[[dict[str, Any]], None]


def _module(name: str, package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtra(f"tracker {name}", name) from error


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    return {k: float(v) for k, v in row.items() if isinstance(v, int | float)}


def _tensorboard(folder: Path, project: str, name: str) -> Hook:
    writer = _module("tensorboard", "torch.utils.tensorboard").SummaryWriter(str(folder / "tensorboard"))

    def hook(row: dict[str, Any]) -> None:
        for key, value in _numbers(row).items():
            writer.add_scalar(key, value, row["step"])

    return hook


def _wandb(folder: Path, project: str, name: str) -> Hook:
    run = _module("wandb", "wandb").init(project=project, name=name, dir=str(folder), resume="allow")
    return lambda row: run.log(_numbers(row), step=row["step"])


def _trackio(folder: Path, project: str, name: str) -> Hook:
    trackio = _module("trackio", "trackio")
    trackio.init(project=project, name=name)
    return lambda row: trackio.log(_numbers(row))


def _mlflow(folder: Path, project: str, name: str) -> Hook:
    mlflow = _module("mlflow", "mlflow")
    mlflow.set_experiment(project)
    mlflow.start_run(run_name=name)
    return lambda row: mlflow.log_metrics(_numbers(row), step=row["step"])


_MAKERS = {"tensorboard": _tensorboard, "wandb": _wandb, "trackio": _trackio, "mlflow": _mlflow}


def hooks(
    names: Sequence[TrackerName], folder: Path, project: str, name: str, note: Callable[[str], None]
) -> tuple[Hook, ...]:
    """One hook a tracker; the first failure of a hook is noted and ends that tracker, never the run.

    Raises:
        MissingExtra: a tracker's library is not installed.
    """

    def guarded(tracker: str, hook: Hook) -> Hook:
        alive = [True]

        def call(row: dict[str, Any]) -> None:
            if alive[0]:
                try:
                    hook(row)
                except Exception as error:  # a tracker is a guest: whatever it raises must not end the run
                    alive[0] = False
                    note(f"tracker {tracker} stopped: {type(error).__name__}: {error}")

        return call

    return tuple(guarded(n, _MAKERS[n](folder, project, name)) for n in names)
