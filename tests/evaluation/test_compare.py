"""The comparison of algorithms: intervals over seeds and files, noise called noise, and the whole command."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "algorithms"))
import toy

from penchant import api
from penchant.comparing import compared, comparison, policy_tokens
from penchant.errors import InputError
from penchant.evaluation.compare import Side, difference, figure, verdict
from penchant.runs.executor import execute
from penchant.stages.compare import cost

FILES = [f"{i}.py" for i in range(30)]


def side(mean, spread=0.1, seeds=3, seed=0, seed_spread=0.0):
    rng = np.random.default_rng(seed)
    offsets = rng.normal(size=(seeds, 1)) * seed_spread
    return Side(mean + offsets + rng.normal(size=(seeds, len(FILES))) * spread, np.ones((seeds, len(FILES))))


def test_a_side_sums_the_completions_of_each_file():
    runs = [[("0.py", 1.0, 2.0), ("0.py", 2.0, 2.0), ("1.py", 0.0, 4.0)], [("1.py", 4.0, 4.0)]]
    found = Side.of(runs, FILES)
    assert found.value() == pytest.approx(7 / 12)
    assert found.by_seed() == pytest.approx([3 / 8, 1.0])


def test_intervals_know_of_seeds_that_differ():
    calm, wild = figure(side(0.5)), figure(side(0.5, seed_spread=0.2))
    assert calm["low"] < 0.5 < calm["high"]
    assert wild["high"] - wild["low"] > 1.5 * (calm["high"] - calm["low"])
    assert figure(Side(np.ones((2, 1)), np.ones((2, 1))))["low"] is None


def test_differences_are_found_where_they_are_and_nowhere_else():
    apart = difference(side(0.4, seed=1), side(0.5, seed=2))
    assert apart.difference == pytest.approx(0.1, abs=0.05)
    assert apart.p < 0.01
    chances = [difference(side(0.5, seed=2 * i), side(0.5, seed=2 * i + 1), 200).p for i in range(60)]
    assert np.mean(np.array(chances) < 0.05) < 0.2


def test_the_verdict_takes_the_best_or_the_fastest_of_those_that_noise_hides():
    rewards = {"a": side(0.5, seed=1), "b": side(0.502, seed=2), "c": side(0.2, seed=3)}
    found = verdict(rewards, {"a": 10.0, "b": 30.0, "c": 1.0})
    assert found["take"] == "a"
    assert sorted(found["tied"]) == ["a", "b"]
    assert "noise" in found["why"] and "Behind it beyond noise: c" in found["why"]
    clear = verdict({"a": side(0.5, seed=1), "c": side(0.2, seed=3)}, {"a": 10.0, "c": 1.0})
    assert clear["take"] == "a"
    assert "above that of c" in clear["why"]


def test_what_cannot_be_compared_is_refused():
    recipe = api.resolved("smoke")
    whole = {"name": "smoke", **recipe.identity()}
    with pytest.raises(InputError, match="name each once"):
        comparison(whole, ["grpo", "grpo"], 1)
    with pytest.raises(InputError, match="did you mean 'rloo'"):
        comparison(whole, ["rlo"], 1)
    with pytest.raises(InputError, match="no model that writes text"):
        comparison(whole, ["reward_model"], 1)
    with pytest.raises(InputError, match="learns from rows of pairs, and the recipe's tuning has documents"):
        comparison(whole, ["dpo"], 1)
    whole["stages"].pop("evaluate")
    with pytest.raises(InputError, match="no stage of kind evaluate"):
        comparison(whole, ["grpo"], 1)


def test_smoke(tmp_path):
    """GRPO, and SFT beside it, share their start over two seeds, spend the same budget, and are not run again."""
    tokens = 400
    given = compared("smoke", ["prepare.max_documents=20"], ["grpo"], 2, tokens=tokens, best_of=2)
    run = execute(api.resolved({**given, "run_dir": str(tmp_path / "run")}))
    found = json.loads((run.stage("compare") / "compare.json").read_text())
    assert set(found["algorithms"]) == {"grpo", "sft", "start", "best_of_2"}
    for name in ("grpo", "sft"):
        one = found["algorithms"][name]
        assert tokens <= one["policy_tokens"] < tokens + 2 * 8 * 16
        assert one["policy_tokens"] == one["sampled_tokens"] + one["trained_tokens"]
        assert one["reference_tokens"] == (one["trained_tokens"] if name == "grpo" else 0)
        assert one["peak_memory_mb"] > 100
        assert len(one["measures"]["reward"]["seeds"]) == 2
        assert (one["kl"] is None) == (name == "sft")
    assert found["verdict"]["take"] in ("grpo", "sft")
    assert {(row["a"], row["b"]) for row in found["paired"]} >= {("grpo", "sft"), ("start", "sft")}
    page = (run.stage("compare") / "compare.html").read_text()
    assert found["verdict"]["why"] in page.replace("&#39;", "'")
    assert page.count("<svg") >= 2
    assert "://" not in page.replace("http://www.w3.org", "")
    assert cost(run.stage("grpo-s0"))["steps"] < 200  # the budget ended it, not its steps
    again = compared(str(run.path), [f"run_dir={tmp_path / 'other'}"], ["rloo"], 1)
    assert again["run_dir"] == str(tmp_path / "other") and "conditional" not in again["stages"]  # taken from the run
    with pytest.raises(
        InputError, match="a run's options are settled; give its recipe instead of its folder, or run_dir="
    ):
        compared(str(run.path), ["tuned.steps=3"], ["rloo"], 1)
    before = {name: run.done(name)["fingerprint"] for name in ("conditional", "grpo-s0", "compare")}
    times = {p: p.stat().st_mtime_ns for p in run.path.rglob("done.json")}
    execute(api.resolved({**given, "run_dir": str(tmp_path / "run")}))
    assert times == {p: p.stat().st_mtime_ns for p in run.path.rglob("done.json")}
    assert before == {name: run.done(name)["fingerprint"] for name in before}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A recipe that tunes on rows of preferences, and its folder."""
    root = tmp_path_factory.mktemp("rows")
    pairs = [
        {"prompt": f"def f{i}(x):\n", "chosen": "return x", "rejected": "x = 1; y = 2", "answer": "return x"}
        for i in range(60)
    ]
    (root / "rows.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    (root / "model").mkdir()
    model = toy.folders(root / "model") / "model"
    rewards = [{"name": "rouge"}, {"name": "length", "high": 12, "weight": 0.5, "workers": 1}]
    small = {"steps": 2, "batch_size": 8, "num_generations": 4, "prompt_tokens": 24, "max_completion_length": 8}
    stages = {
        "data": {"kind": "examples", "path": str(root / "rows.jsonl"), "fractions": [0.6, 0.2, 0.2]},
        "tuned": {"kind": "tune", "inputs": {"data": "data", "model": str(model)}, "rewards": rewards, "combine": "sum",
                  "algorithm": "grpo", "ask": None, "max_length": 60, "max_clipped_ratio": 1.0, **small},
        "evaluate": {"kind": "evaluate", "inputs": {"data": "data", "tuned": "tuned"}, "prompts": 8, "bootstrap": 50,
                     "models": {"tuned": {"model": "tuned"}}, "max_new_tokens": 8, "prompt_tokens": 24},
    }  # fmt: skip
    return root, {"name": "rows", "stages": stages}


def whole_of(recipe):
    found = api.resolved(recipe)
    return {"name": found.name, **found.identity()}


def test_rows_are_judged_by_the_rewards_that_they_are_tuned_by(rows):
    made = comparison(whole_of(rows[1]), ["grpo", "dpo"], 1)["stages"]
    assert [name for name in made if made[name]["kind"] == "tune"] == ["grpo-s0", "dpo-s0", "sft-s0"]
    task = made["evaluate"]["task"]
    assert task["name"] == "answer" and task["combine"] == "sum" and task["metrics"] == ["exact_match", "token_f1"]
    assert task["rewards"] == [{"name": "rouge"}, {"name": "length", "high": 12, "weight": 0.5}]
    assert all(model["ask"] is None for model in made["evaluate"]["models"].values())
    alone = comparison(whole_of(rows[1]), ["grpo"], 1, sft=False)["stages"]
    assert [name for name in alone if alone[name]["kind"] == "tune"] == ["grpo-s0"]


@pytest.mark.slow
def test_algorithms_of_rows_beside_those_that_sample(rows):
    given = comparison(whole_of(rows[1]), ["grpo", "dpo"], 1, tokens=300, best_of=2)
    run = execute(api.resolved({**given, "run_dir": str(rows[0] / "run")}))
    found = json.loads((run.stage("compare") / "compare.json").read_text())
    assert set(found["algorithms"]) == {"grpo", "dpo", "sft", "start", "best_of_2"}
    assert found["independent"] == "exact_match"
    for name in ("grpo", "dpo", "sft"):
        one = found["algorithms"][name]
        assert one["policy_tokens"] >= 300
        assert (one["sampled_tokens"] > 0) == (name == "grpo")
        assert 0 <= one["measures"]["reward"]["value"] <= 1.5


def test_the_budget_is_the_recipes_own_at_half_length():
    assert policy_tokens({"steps": 24, "batch_size": 128, "max_completion_length": 96}) == 24 * 128 * 96
