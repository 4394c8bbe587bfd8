"""Fit an encoder with a class head to labelled texts, through the training loop; the best step by validation stays."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from penchant import console
from penchant.batches.rows import Item, Rows
from penchant.errors import InputError
from penchant.files import read_json, stable_hash, write_json
from penchant.machine import cores
from penchant.models.encoder import Classifier, Encoder
from penchant.models.heads import add_heads
from penchant.objectives.classification import Classification
from penchant.runs import checkpoint
from penchant.runtime.device import device_name
from penchant.runtime.launch import Place
from penchant.runtime.mesh import Mesh
from penchant.runtime.precision import resolve_dtype
from penchant.stages._classifier import Texts, cross_entropy
from penchant.training.loop import TrainingPlan, train
from penchant.training.optimizer import Optimizer, OptimizerOptions

if TYPE_CHECKING:
    from penchant.stages.signal import EncoderOptions

__all__ = ["fit_encoder"]

_EVALUATIONS = 8  # in the course of training
_ROWS = 16  # texts in one forward


class _Kept:
    """A recorder whose checkpoints (weights and all) are there to go on from and for the best of them, and then go.

    Args:
        identity: tells the training; checkpoints of another one are left behind.
    """

    def __init__(self, folder: Path, identity: str, stop: Callable[[], int]):
        self.folder, self.stop, self.loss, self.best = folder, stop, 1e300, 0  # JSON has no infinity
        about = folder / "training.json"
        if about.is_file() and read_json(about) != {"identity": identity}:
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(about, {"identity": identity})

    def resume(self) -> Mapping[str, Any] | None:
        found = checkpoint.latest(self.folder, console.note)
        if found is None:
            return None
        saved = checkpoint.load_state(found)
        self.loss, self.best = saved["best_loss"], saved["best"]
        console.note(f"going on from step {saved['step']}")
        return {**saved, "model": saved["weights"]}

    def metrics(self, row: dict[str, Any]) -> None:
        return None

    def checkpoint(self, step: int, state: dict[str, Any], metrics: Mapping[str, float]) -> None:
        if metrics.get("eval_loss", self.loss) < self.loss:  # none where it was asked to stop in between
            self.loss, self.best = metrics["eval_loss"], step
        own = {"weights": state["model"], "best_loss": self.loss, "best": self.best}
        checkpoint.save(self.folder, step, state | own, lambda to: None)
        checkpoint.prune(self.folder, keep=1, best=self.best)

    def weights(self) -> dict[str, torch.Tensor]:
        """The best ones."""
        found: dict[str, torch.Tensor] = checkpoint.load_state(self.folder / f"checkpoint-{self.best}")["weights"]
        return found


def _refuse(folder: Path) -> None:
    """Leave alone what is no training of ours."""
    ours = not folder.exists() or (folder / "training.json").is_file()
    if not ours and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError("stands where checkpoints go, and is none of ours", "give another --output", file=folder)


def fit_encoder(
    options: EncoderOptions,
    labels: Sequence[str],
    parts: Mapping[str, Texts],
    folder: Path,
    stop: Callable[[], int],
) -> Classifier:
    """The classifier of the step that is best on `parts["validation"]`; its temperature is 1.

    Args:
        folder: where checkpoints are while it trains; where the same training was stopped, it goes on.
        stop: see `StageContext`.

    Raises:
        InputError: no model there, or something else than a training of ours at `folder`.
        Stopped: asked to stop.
    """
    _refuse(folder)
    torch.set_num_threads(cores())
    device = device_name(options.device)
    model = Encoder.load(options.folder, options.max_length, resolve_dtype("auto", device), device)
    add_heads(model, {"class": len(labels)})
    ids, cut = model.ids(parts["train"].texts)
    if cut:
        console.note(f"{cut} of {len(ids)} training texts are cut at {model.longest} tokens (--max-length)")
    items = [
        Item(tuple(own), ((0,),), {f"target_{c}": (np.array([p], np.float32),) for c, p in enumerate(target)})
        for own, target in zip(ids, parts["train"].targets, strict=True)
    ]
    steps = max(2, -(-len(items) * options.epochs // options.batch_size))
    mesh = Mesh(cores(), device, Place())
    source = Rows(model, items, options.batch_size, _ROWS, options.seed, mesh)
    said = {name: [part.texts, part.targets.tolist()] for name, part in parts.items() if name != "test"}
    weights = [stable_hash(path) for path in sorted(Path(options.folder).glob("*.safetensors"))]
    identity = stable_hash([options.model_dump(), labels, said, weights, str(model.dtype), cores()])
    classifier, recorder = Classifier(model, labels, 1.0, {}), _Kept(folder, identity, stop)

    def evaluate(step: int) -> dict[str, float]:
        held = parts["validation"]
        loss = cross_entropy(classifier.probabilities(held.texts), held.targets)
        console.note(f"step {step} of {steps}: cross-entropy {loss:.4f} on validation")
        return {"eval_loss": loss}

    every = max(1, steps // _EVALUATIONS)
    plan = TrainingPlan(source, Classification(), steps, evaluate, every, every)
    rate = {"learning_rate": options.learning_rate, "warmup": 0.1, "weight_decay": 0.01}
    optimizer = Optimizer(model, OptimizerOptions(name="adamw", schedule="linear", **rate), steps)
    train(model, optimizer, plan, recorder, console.report_progress, mesh)
    model.load_state_dict(recorder.weights())
    return classifier
