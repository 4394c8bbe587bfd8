"""A toy training as several processes run it: `python several.py FOLDER STEPS SHARD STOP_AT THREADS OPTIMIZER`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from penchant.batches.corpus import Corpus, windows_of
from penchant.contracts import Context, StageContext
from penchant.errors import Stopped
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.objectives import mle
from penchant.records import Encoded
from penchant.runs.recorder import StageRecorder
from penchant.runtime.launch import Place
from penchant.runtime.mesh import Mesh
from penchant.training.loop import TrainingPlan, train
from penchant.training.optimizer import Optimizer, OptimizerOptions


def run(
    folder: Path, steps: int, shard: str, stop_at: int, threads: int, optimizer: str, at: Place | None = None
) -> list[str]:
    """Train, or go on; stops with the state saved after step `stop_at`. Returns the notes."""
    mesh = Mesh(threads, "cpu", at, share_weights=shard)
    config = DecoderConfig(vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2)
    model = Decoder(config).initialise(0)
    rng = np.random.default_rng(0)
    documents = [Encoded(rng.integers(0, 50, n) // 5, rng.random(n) < 0.1) for n in (140, 390, 233)]
    seen = [0]

    def stop() -> int:
        seen[0] += 1
        return 15 if stop_at and mesh.place.rank == mesh.place.ranks - 1 and seen[0] == stop_at else 0

    notes: list[str] = []
    context = StageContext("toy", folder, {}, 0, threads, stop, notes.append)
    recorder = StageRecorder(context, model, lambda _: None, best="eval_loss", mesh=mesh)
    mesh.place_model(model)
    source = Corpus(windows_of(documents, 16), 160, 3, seed=5, mesh=mesh)
    evaluate = lambda step: {"eval_loss": 1.0 / step}  # noqa: E731
    plan = TrainingPlan(source, mle.build(mle.Options(), Context()), steps, evaluate, 10, 5, "halt")
    moves = Optimizer(model, OptimizerOptions(name=optimizer, learning_rate=0.02), steps)
    try:
        train(model, moves, plan, recorder, mesh=mesh)
        recorder.publish()
    except Stopped:
        pass
    mesh.close()
    return notes


if __name__ == "__main__":
    words = sys.argv[1:]
    print(json.dumps(run(Path(words[0]), int(words[1]), words[2], int(words[3]), int(words[4]), words[5])))
