"""Fit an encoder with a class head to labelled texts, through the training loop; the best step by validation stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from penchant import console
from penchant.batches.rows import Item, Rows
from penchant.machine import cores
from penchant.models.encoder import Classifier, Encoder
from penchant.models.heads import add_heads
from penchant.objectives.classification import Classification
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


class _Best:
    """A recorder that keeps the best weights in memory: such a training takes minutes, and begins anew if stopped."""

    def __init__(self, model: Encoder, stop: Callable[[], int]):
        self.model, self.stop, self.loss = model, stop, float("inf")
        self.weights: dict[str, torch.Tensor] = {}

    def resume(self) -> None:
        return None

    def metrics(self, row: dict[str, Any]) -> None:
        return None

    def checkpoint(self, step: int, state: dict[str, Any], metrics: Mapping[str, float]) -> None:
        if metrics.get("eval_loss", self.loss) < self.loss:  # none where it was asked to stop in between
            self.loss = metrics["eval_loss"]
            self.weights = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}


def fit_encoder(
    options: EncoderOptions, labels: Sequence[str], parts: Mapping[str, Texts], stop: Callable[[], int]
) -> Classifier:
    """The classifier of the step that is best on `parts["validation"]`; its temperature is 1.

    Args:
        stop: see `StageContext`.

    Raises:
        InputError: no model there.
        Stopped: asked to stop.
    """
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
    classifier, recorder = Classifier(model, labels, 1.0, {}), _Best(model, stop)

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
    model.load_state_dict(recorder.weights)
    return classifier
