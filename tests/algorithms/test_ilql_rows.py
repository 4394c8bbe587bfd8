"""ILQL through the real stage and command: rows in, a policy out that its action values move, resumed bit for bit."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest
import torch

from penchant.api import single
from penchant.contracts import StageContext
from penchant.errors import InputError, Stopped
from penchant.evaluation.machine import open_machine
from penchant.files import read_json
from penchant.models.heads import read_heads
from penchant.models.load import load_model, load_tokenizer
from penchant.policy import load
from penchant.runs.executor import execute
from penchant.stages import examples, tune
from penchant.stages.tune import Options

sys.path.insert(0, str(Path(__file__).parent))
import toy

SETTINGS = {
    "algorithm": "ilql",
    "batch_size": 16,
    "max_length": 32,
    "eval_steps": 30,
    "eval_prompts": 20,
    "save_steps": 3,
    "dtype": "float32",
    "algorithm_options": {"gamma": 1.0, "alpha": 0.05, "polyak": 0.1, "beta": 12.0},
    "optimizer": {"name": "adamw", "learning_rate": 1e-2, "schedule": "constant", "weight_decay": 0.0},
}


def rows(count=300):
    """Answers of two characters, half of them capitals; a small letter earns 1."""
    rng = random.Random(0)
    found = []
    for i in range(count):
        answer = "".join(rng.choice("abAB") for _ in range(2))
        found.append({"prompt": f"say {i}: ", "completion": answer, "reward": sum(c.islower() for c in answer)})
    return found


def write(path, found):
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return path


@pytest.fixture(scope="module")
def at(tmp_path_factory):
    """A model's folder, rows, and a folder of the stage `examples`."""
    root = toy.folders(tmp_path_factory.mktemp("scored"))
    write(root / "rows.jsonl", rows())
    (root / "data").mkdir()
    context = StageContext("data", root / "data", {}, 0, 1, lambda: 0, lambda text: None)
    examples.run(examples.Options(path=str(root / "rows.jsonl")), context)
    return root


def run(model, data, folder, stop=lambda: 0, **changes):
    folder.mkdir(exist_ok=True)
    context = StageContext("tuned", folder, {"model": model, "data": data}, 0, 1, stop, lambda text: None)
    return tune.run(Options(**{**SETTINGS, **changes}), context)


def small(texts):
    """The share of small letters, an empty text being none."""
    return sum(c.islower() for text in texts for c in text) / max(1, sum(map(len, texts)))


def test_from_the_command_to_a_policy_that_its_values_move(at, tmp_path):
    """`penchant tune model=DIR data=ROWS.jsonl --algorithm ilql`, then `penchant generate`'s door."""
    options = [f"tune.{key}={json.dumps(value)}" for key, value in SETTINGS.items()]
    where = [f"model={at / 'model'}", f"data={at / 'rows.jsonl'}", f"run_dir={tmp_path / 'run'}"]
    execute(single("tune", [*where, *options, "tune.steps=120"]))
    folder = tmp_path / "run" / "stages" / "tune" / "model"
    assert read_json(folder / "penchant.json")["q_weight"] == 12.0
    names = {name.split(".")[1] for name in read_heads(folder)}
    assert names == {"value", "q1", "q2", "target_q1", "target_q2"}
    log = toy.rows(folder.parent)
    assert {"loss/value", "loss/q", "loss/cql", "loss/clone", "values/mean", "q/mean", "advantage"} <= log[0].keys()
    assert log[-1]["eval_loss"] < log[0]["loss"]
    policy = load(folder)
    prompts = [f"say {i}: " for i in range(64)]
    moved, plain = (policy.generate(prompts, max_new_tokens=3, **how) for how in ({}, {"q_weight": 0.0}))
    assert small(moved) > 0.9 > 0.75 > small(plain) > 0.25  # the data's answers are half of each
    ids = [policy.tokenizer.encode(prompt) for prompt in prompts[:4]]
    machine = open_machine(folder, "cpu")  # evaluation's door
    assert len(machine.generate(ids, max_new_tokens=2, q_weight=12.0)) == 4
    with pytest.raises(InputError, match="no action values"):
        load(at / "model").generate("say", max_new_tokens=1, q_weight=1.0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_stopped_run_goes_on_with_the_same_bits(at, tmp_path, dtype):
    """Values, action values and their targets included."""
    run(at / "model", at / "data", tmp_path / "whole", steps=8, dtype=dtype)
    steps = iter(range(1, 100))
    with pytest.raises(Stopped):
        run(at / "model", at / "data", tmp_path / "cut", lambda: 15 if next(steps) == 5 else 0, steps=8, dtype=dtype)
    run(at / "model", at / "data", tmp_path / "cut", steps=8, dtype=dtype)
    assert toy.rows(tmp_path / "cut") == toy.rows(tmp_path / "whole")
    for name in ("model.safetensors", "heads.safetensors", "penchant.json"):
        whole, cut = ((tmp_path / run / "model" / name).read_bytes() for run in ("whole", "cut"))
        assert whole == cut
    heads = read_heads(tmp_path / "whole" / "model")
    slow, fast = heads["heads.target_q1.weight"].float(), heads["heads.q1.weight"].float()
    assert 0 < slow.norm() < fast.norm()
    assert not torch.equal(heads["heads.q1.weight"], heads["heads.q2.weight"])  # two opinions


def test_a_model_of_transformers(at, tmp_path):
    """GPT-2 learns the same through the same rows, and its sampler is moved too."""
    transformers = pytest.importorskip("transformers")
    tokenizer = load_tokenizer(at / "model")
    config = transformers.GPT2Config(
        vocab_size=tokenizer.vocab_size, n_positions=64, n_embd=32, n_layer=1, n_head=2, eos_token_id=tokenizer.eos_id,
        bos_token_id=tokenizer.eos_id, pad_token_id=tokenizer.pad_id, initializer_range=0.1,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    tokenizer.save(tmp_path / "gpt2")
    run(tmp_path / "gpt2", at / "data", tmp_path / "run", steps=120)
    policy = load(tmp_path / "run" / "model")
    prompts = [f"say {i}: " for i in range(64)]
    moved, plain = (policy.generate(prompts, max_new_tokens=3, **how) for how in ({}, {"q_weight": 0.0}))
    assert small(moved) > 0.9 > 0.75 > small(plain) > 0.25


def test_another_algorithm_on_the_tuned_model_does_not_keep_its_values(at, tmp_path):
    """The values are those of the weights they were learned with."""
    run(at / "model", at / "data", tmp_path / "ilql", steps=3)
    (tmp_path / "sft").mkdir()
    changes = {"algorithm": "sft", "algorithm_options": {}, "steps": 2}
    run(tmp_path / "ilql", at / "data", tmp_path / "sft", **changes)
    assert read_json(tmp_path / "sft" / "model" / "penchant.json")["q_weight"] == 0
    assert not read_heads(tmp_path / "sft" / "model")
    assert not hasattr(load_model(tmp_path / "sft" / "model"), "heads")


def test_rows_without_rewards_are_refused(at, tmp_path):
    data = write(tmp_path / "rows.jsonl", [{k: v for k, v in row.items() if k != "reward"} for row in rows(40)])
    (tmp_path / "data").mkdir()
    context = StageContext("data", tmp_path / "data", {}, 0, 1, lambda: 0, lambda text: None)
    examples.run(examples.Options(path=str(data)), context)
    with pytest.raises(InputError, match="ilql learns from scored"):
        run(at / "model", tmp_path / "data", tmp_path / "run", steps=2)
