"""Twenty steps of each pretraining objective end where they ended when they were checked.

Write the file anew, where a change is meant: `PENCHANT_GOLDEN=write pytest tests/objectives/test_golden.py`.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from penchant import registry
from penchant.batches.corpus import Corpus, encode, plain
from penchant.contracts import Context
from penchant.data.shards import Windows
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.heads import add_heads
from penchant.records import Document
from penchant.text.tokenizer import Tokenizer
from penchant.training.loop import TrainingPlan, train
from penchant.training.optimizer import Optimizer, OptimizerOptions

FILE = Path(__file__).parents[1] / "golden" / "objectives.json"
NAMES = ["mle", "conditional", "filtering", "unlikelihood", "rwr", "awr"]
STEPS = 20


def documents():
    """Lines of which some are shouted; those score -1."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(12):
        lines = [" ".join(rng.choice(["red", "green", "blue", "grey"], 4)) + "\n" for _ in range(12)]
        shouted = rng.random(12) < number / 12
        lines = [line.upper() if loud else line for line, loud in zip(lines, shouted, strict=True)]
        ends = tuple(np.cumsum([len(line) for line in lines]).tolist())
        found.append(Document(f"{number}", "".join(lines), ends, {"style": tuple(-1.0 * shouted)}))
    return found


class Rows:
    def __init__(self):
        self.rows = []

    def resume(self):
        return None

    def metrics(self, row):
        self.rows.append(row)

    def checkpoint(self, step, state, metrics):
        return None

    def stop(self):
        return 0


def losses(name):
    texts = documents()
    tokenizer = Tokenizer.train([d.text for d in texts], 300)
    means = sorted(float(np.mean(d.scores["style"])) for d in texts)
    quantiles = {"quantiles": {"0.5": 0.0}, "document_quantiles": {"0.5": means[len(means) // 2]}}
    context = Context(seed=1, tokenizer=tokenizer, data={"signals": {"style": quantiles}})
    module = registry.load("objectives", name)
    objective = module.build(module.Options(), context)
    config = DecoderConfig(vocab_size=tokenizer.vocab_size, hidden_size=32, intermediate_size=48,
                           num_hidden_layers=2, initializer_range=0.05)  # fmt: skip
    model = Decoder(config).initialise(0)
    add_heads(model, getattr(objective, "heads", {}))
    transform = getattr(objective, "transform", None) or plain(tokenizer)
    source = Corpus(Windows(encode(texts, tokenizer, transform, False), 32), 128, 4, 0)
    rows = Rows()
    options = OptimizerOptions(name="adamw", learning_rate=3e-3)
    train(model, Optimizer(model, options, STEPS), TrainingPlan(source, objective, STEPS, save_steps=99), rows)
    return [row["loss"] for row in rows.rows]


@pytest.mark.parametrize("name", NAMES)
def test_trajectory(name):
    found = losses(name)
    assert len(found) == STEPS
    assert found[-1] < found[0]
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    if os.environ.get("PENCHANT_GOLDEN") == "write":
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(json.dumps({**known, name: [round(loss, 6) for loss in found]}, indent=1) + "\n")
        pytest.skip("written anew")
    assert found == pytest.approx(known[name], rel=1e-4)
