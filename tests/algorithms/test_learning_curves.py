"""Each algorithm solves a toy task in under a minute: a mean reward of 0.9 on held-out prompts."""

import sys
from pathlib import Path

import pytest

from penchant.errors import Stopped

sys.path.insert(0, str(Path(__file__).parent))
import toy

FAST = ("grpo", "ppo")  # one a family here; all in `make slow`
# Options of each, over the toy's.
TABLE = {
    "reinforce": {"algorithm_options": {"beta": 0.0}, "steps": 100},
    "rloo": {"algorithm_options": {"beta": 0.0}, "steps": 100},
    "minimum_risk": {"algorithm_options": {"beta": 0.0, "alpha": 0.5}, "steps": 100},
    "grpo": {},
    "dr_grpo": {"algorithm_options": {"beta": 0.0}, "steps": 100},
    "dapo": {"algorithm_options": {"overlong_buffer": 0}},
    "gspo": {"num_iterations": 2},
    "cispo": {"num_iterations": 2},
    "expert_iteration": {},
    "online_dpo": {"steps": 100},
    "a2c": {"algorithm_options": {"beta": 0.0}, "steps": 100},
    "ppo": {"algorithm_options": {"beta": 0.0}, "steps": 100},
}


@pytest.fixture(scope="module")
def at(tmp_path_factory):
    return toy.folders(tmp_path_factory.mktemp("toy"))


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in TABLE]
)
def test_the_task_is_solved(at, tmp_path, name):
    toy.tune(at, tmp_path / name, name, **TABLE[name])
    found = toy.rows(tmp_path / name)
    assert found[0]["reward"] < 0.5
    assert found[-1]["eval_reward"] >= 0.9


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(n, marks=pytest.mark.slow) for n in TABLE if n not in FAST)])
def test_a_stopped_run_goes_on_with_the_same_bits(at, tmp_path, name):
    """Within a rollout that is used again, where there is one; baselines and coefficients included."""
    # micro_batch_size is found from free memory, which others may take between two runs
    short = {**TABLE[name], "steps": 7, "save_steps": 2, "eval_steps": 7, "micro_batch_size": 16}
    options = dict(short.get("algorithm_options", {}))
    if name not in ("minimum_risk", "online_dpo"):
        options |= {"kl_target": 0.01, "beta": 0.1}
    short["algorithm_options"] = options
    toy.tune(at, tmp_path / "whole", name, **short)
    for cut in (3, 6):
        folder, steps = tmp_path / f"cut{cut}", iter(range(1, 100))
        with pytest.raises(Stopped):
            toy.tune(at, folder, name, stop=lambda steps=steps, cut=cut: 15 if next(steps) == cut else 0, **short)
        toy.tune(at, folder, name, **short)
        assert toy.rows(folder) == toy.rows(tmp_path / "whole")
        for file in ("model/model.safetensors", "samples.jsonl"):
            assert (folder / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_a_reference_that_follows(at, tmp_path):
    """TR-DPO's reference: it moves every few updates, KL falls at each move to it, and a stopped run goes on."""
    short = {"steps": 9, "save_steps": 2, "eval_steps": 9, "sync_ref_model": True, "ref_model_sync_steps": 3,
             "ref_model_mixup_alpha": 1.0, "micro_batch_size": 16, "algorithm_options": {"beta": 0.01}}  # fmt: skip
    toy.tune(at, tmp_path / "whole", "grpo", **short)
    kl = [row["kl"] for row in toy.rows(tmp_path / "whole") if "kl" in row]
    assert kl[0] == kl[3] == kl[6] == pytest.approx(0, abs=1e-7)  # the reference is the policy again
    assert min(kl[1], kl[2], kl[4], kl[5], kl[7], kl[8]) > 1e-6
    steps = iter(range(1, 100))
    with pytest.raises(Stopped):
        toy.tune(at, tmp_path / "cut", "grpo", stop=lambda: 15 if next(steps) == 5 else 0, **short)
    toy.tune(at, tmp_path / "cut", "grpo", **short)
    assert toy.rows(tmp_path / "cut") == toy.rows(tmp_path / "whole")
    frozen = {**short, "sync_ref_model": False}
    toy.tune(at, tmp_path / "frozen", "grpo", **frozen)
    assert [row["kl"] for row in toy.rows(tmp_path / "frozen") if "kl" in row][6] > 1e-6


@pytest.mark.parametrize(("name", "option"), [("ppo", "bootstrap_truncated"), ("ppo", "kl_in_reward")])
def test_options_of_the_critic_reach_training(at, tmp_path, name, option):
    """Completions cut at their limit, and the KL in the reward, change what values are to be; not before they are."""
    value = {"bootstrap_truncated": True, "kl_in_reward": 0.2}[option]
    twice = {"num_ppo_epochs": 1, "num_mini_batches": 2}  # three rollouts, each cut in two updates
    short = {"steps": 6, "eval_steps": 6, "micro_batch_size": 16, "algorithm_options": twice}
    toy.tune(at, tmp_path / "plain", name, **short)
    short["algorithm_options"] = {**short["algorithm_options"], option: value}
    toy.tune(at, tmp_path / "with", name, **short)
    plain, found = ([r for r in toy.rows(tmp_path / n) if "returns" in r] for n in ("plain", "with"))
    assert len(plain) == len(found) == 6
    assert plain[0]["reward"] == found[0]["reward"]
    assert plain[0]["returns"] == pytest.approx(found[0]["returns"], abs=1e-6)  # no KL yet, and values of 0
    assert plain[-1]["returns"] != pytest.approx(found[-1]["returns"], abs=1e-6)
    assert all("explained_variance" in row for row in found)
