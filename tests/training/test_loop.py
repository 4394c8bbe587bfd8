"""The loop: learns, resumes bit for bit, stops and saves on a signal, and never saves what is not finite."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from penchant.batches.corpus import Corpus
from penchant.contracts import Context, StageContext
from penchant.data.shards import Windows
from penchant.errors import CorruptCheckpoint, DataRejected, NotFinite, Stopped
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.objectives import mle
from penchant.records import Encoded
from penchant.runs import checkpoint
from penchant.runs.recorder import StageRecorder
from penchant.training.loop import TrainingPlan, train
from penchant.training.optimizer import Optimizer, OptimizerOptions
from penchant.training.schedule import factor

STEPS = 12


def parts(folder, *, name="muon", dtype=torch.float32, stop=lambda: 0, source=None, on_not_finite="halt", steps=STEPS):
    config = DecoderConfig(vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2)
    model = Decoder(config).initialise(0).to(dtype)
    rng = np.random.default_rng(0)
    documents = [Encoded(np.arange(n) * 7 % 50, rng.random(n) < 0.1) for n in (40, 90, 33)]
    source = source or Corpus(Windows(documents, 16), 64, 3, seed=5)
    context = StageContext("toy", folder, {}, 0, 1, stop, lambda _: None)
    recorder = StageRecorder(context, model, lambda _: None, best="eval_loss")
    evaluate = lambda step: {"eval_loss": 1.0 / step}  # noqa: E731
    plan = TrainingPlan(source, mle.build(mle.Options(), Context()), steps, evaluate, 4, 4, on_not_finite)
    optimizer = Optimizer(model, OptimizerOptions(name=name, learning_rate=0.02), steps)
    return model, optimizer, plan, recorder


def rows(folder):
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    times = ("step_seconds", "tokens_per_second")
    return [{k: v for k, v in row.items() if k not in times} for row in found]


class StopAfter:
    def __init__(self, steps):
        self.left = steps

    def __call__(self):
        self.left -= 1
        return 15 if self.left == 0 else 0


@pytest.mark.parametrize("name", ["muon", "adamw", "sgd"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, name, dtype):
    whole = parts(tmp_path / "whole", name=name, dtype=dtype)
    train(*whole)
    for steps in (5, 2):
        with pytest.raises(Stopped) as stopped:
            train(*parts(tmp_path / "cut", name=name, dtype=dtype, stop=StopAfter(steps)))
        assert stopped.value.exit_code == 143
    cut = parts(tmp_path / "cut", name=name, dtype=dtype)
    train(*cut)
    for (key, a), b in zip(whole[0].state_dict().items(), cut[0].state_dict().values(), strict=True):
        assert torch.equal(a, b), key
    assert rows(tmp_path / "whole") == rows(tmp_path / "cut")
    assert rows(tmp_path / "whole")[-1]["loss"] < rows(tmp_path / "whole")[0]["loss"]


def test_only_the_last_two_and_the_best_are_kept_and_the_best_is_published(tmp_path):
    run = parts(tmp_path)
    train(*run)
    assert checkpoint.steps(tmp_path) == [8, 12]
    assert run[3].publish() == 12
    assert (tmp_path / "model" / "model.safetensors").is_file()
    assert not (tmp_path / "model" / "state").exists()


def test_a_corrupt_checkpoint_falls_back_to_the_one_before_and_says_why(tmp_path):
    train(*parts(tmp_path))
    weights = tmp_path / "checkpoint-12" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    said = []
    assert checkpoint.latest(tmp_path, said.append).name == "checkpoint-8"
    assert "model.safetensors" in said[0]
    (tmp_path / "checkpoint-8" / "state" / "state.json").write_text("{}")
    with pytest.raises(CorruptCheckpoint, match=r"state\.json"):
        checkpoint.latest(tmp_path)


def test_a_half_written_checkpoint_is_not_seen(tmp_path):
    train(*parts(tmp_path))
    (tmp_path / "tmp-checkpoint-16").mkdir()
    assert checkpoint.latest(tmp_path).name == "checkpoint-12"


class Poisoned(Corpus):
    """A source that gives one batch whose loss is not finite."""

    def next(self, step):
        batches, stats = super().next(step)
        if step == 6:
            for batch in batches:
                batch.columns["weight"] = np.full(len(batch.labels), np.nan, np.float32)
        return batches, stats


def poisoned():
    return Poisoned(Windows([Encoded(np.arange(200) % 50, np.zeros(200, bool))], 16), 64, 4, seed=1)


def test_not_finite_halts_and_is_never_saved(tmp_path):
    with pytest.raises(NotFinite, match="step 6"):
        train(*parts(tmp_path, source=poisoned()))
    assert checkpoint.steps(tmp_path) == [4]


@pytest.mark.parametrize("how", ["skip", "rollback"])
def test_not_finite_is_skipped_or_rolled_back(tmp_path, how):
    run = parts(tmp_path, source=poisoned(), on_not_finite=how)
    assert train(*run) == 1
    assert all(torch.isfinite(p).all() for p in run[0].parameters())
    assert [row["step"] for row in rows(tmp_path)] == list(range(1, STEPS + 1))


def test_an_empty_loss_mask_is_refused():
    with pytest.raises(DataRejected, match="empty loss mask"):
        Corpus(Windows([Encoded(np.arange(20), np.ones(20, bool))], 8), 8, 2, 0)


def test_the_corpus_counts_content_tokens_and_sees_every_window_once_an_epoch():
    rng = np.random.default_rng(0)
    windows = Windows([Encoded(rng.integers(0, 50, 300), rng.random(300) < 0.2)], 16)
    source = Corpus(windows, 40, 2, seed=0)
    seen = []
    for step in range(12):
        batches, stats = source.next(step)
        content = sum(len(b.labels) for b in batches)
        seen += [tuple(b.labels[b.unit == u]) for b in batches for u in range(len(b.lengths))]
        assert 40 * (step + 1) <= stats["content_tokens"] < 40 * (step + 1) + 17
        assert content > 0
    first = seen[: len(windows)]
    assert sorted(first) == sorted(tuple(w.ids[1:][~w.control[1:]]) for w in windows)


def test_a_budget_ends_training_and_its_schedule_with_it(tmp_path):
    """The rate rises and falls over the budget, not over steps that will not be made; a stopped run goes on alike."""
    model, optimizer, plan, recorder = parts(tmp_path / "whole", steps=1000)
    plan = dataclasses.replace(plan, budget=600)
    train(model, optimizer, plan, recorder)
    found = rows(tmp_path / "whole")
    assert found[-1]["num_tokens"] >= 600 > found[-2]["num_tokens"] and len(found) < 20
    rates = [row["learning_rate"] for row in found]
    assert max(rates) == pytest.approx(0.02, rel=0.15) and rates[-1] < 0.3 * max(rates)
    spent = [0, *(row["num_tokens"] for row in found[:-1])]
    assert rates == pytest.approx([0.02 * factor("linear", int(s / 600 * 10_000), 10_000) for s in spent])
    run = parts(tmp_path / "cut", steps=1000, stop=StopAfter(3))
    with pytest.raises(Stopped):
        train(run[0], run[1], dataclasses.replace(run[2], budget=600), run[3])
    run = parts(tmp_path / "cut", steps=1000)
    train(run[0], run[1], dataclasses.replace(run[2], budget=600), run[3])
    assert rows(tmp_path / "cut") == found
