"""Rollouts: what is sampled is what is trained on; credit, masks, refusals, and the same batches after a resume."""

import json
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from penchant.advantages.group import group_advantages
from penchant.batches.prompts import PromptSet
from penchant.batches.rollouts import Rollouts, Sampling
from penchant.contracts import Algorithm, Context, Judgement, Measure, Spot
from penchant.errors import DataRejected
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.quantities import quantities
from penchant.objectives import policy_gradient
from penchant.plugins import plug
from penchant.records import Document
from penchant.rewards._pool import Pool
from penchant.runs import checkpoint
from penchant.text.control import Bins
from penchant.text.tokenizer import Tokenizer
from penchant.training.loop import gradient_step

TEXT = "one two three\nfour five six\nseven eight nine\nten eleven\n" * 5


class Lines:
    """A toy task: prompts end at lines; a completion is judged up to its third character."""

    measures = MappingProxyType({"reward": Measure("share of e")})

    def spots(self, document):
        return [Spot(end, {"end": end}) for end in document.ends[1:-1]]

    def judge(self, prompt, text, stop):
        return Judgement({"reward": (text.count("e"), 1.0)}, text[:3], 3)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train([TEXT], 280)


def document(name="a.txt"):
    ends = tuple(i + 1 for i, c in enumerate(TEXT) if c == "\n")
    return Document(name, TEXT, ends, {"toy": tuple(float(i % 2) for i in range(len(ends)))})


def source(tokenizer, folder, rewards=None, how="product", **changes):
    model = Decoder(DecoderConfig(vocab_size=tokenizer.vocab_size, hidden_size=32, intermediate_size=48,
                                  num_hidden_layers=1, initializer_range=0.1)).initialise(0)  # fmt: skip
    prompts = PromptSet([document()], Lines(), tokenizer, 20, "good", Bins.two("toy", 0.5), seed=3)
    good = tokenizer.control_ids["good"]
    ban = tuple(i for i in tokenizer.special_ids if i != tokenizer.eos_id)
    sampling = Sampling(12, 0.8, (tokenizer.eos_id,), ban, {tokenizer.newline_id: good})
    rewards = rewards or {"e": (lambda p, c, **k: [x.text.count("e") + 0.01 * len(x.text) for x in c], 1.0)}
    settings = {"batch_size": 12, "num_generations": 4, "micro_batch_size": 5, "how": how, "seed": 1,
                "folder": folder, "max_clipped_ratio": 1.0} | changes  # fmt: skip
    return Rollouts(
        model, model, tokenizer, Lines(), prompts, rewards, Algorithm(None, group_advantages), sampling, **settings
    )


def test_labels_are_the_chosen_tokens_that_earn_credit_with_the_samplers_logprobs(tokenizer, tmp_path):
    rollouts = source(tokenizer, tmp_path)
    batches, stats = rollouts.next(0)
    special = set(tokenizer.special_ids) - {tokenizer.eos_id}
    assert sum(len(set(b.unit)) for b in batches) == 12
    assert sum(len(b.inputs) for b in batches) < sum(len(b.labels) for b in batches) + 12 * 20  # prompts are shared
    assert 0 < stats["completions/judged_share"] < 1
    for batch in batches:
        assert not set(batch.labels.tolist()) & special
        found = quantities(rollouts.model, batch, ("logprobs",))["logprobs"].detach().numpy()
        assert np.abs(found - batch.columns["rollout_logprobs"]).mean() < 1e-5
        np.testing.assert_allclose(found, batch.columns["reference_logprobs"], atol=1e-5)
        for unit in set(batch.unit):
            ids = batch.labels[batch.unit == unit].tolist()
            starts = [len(tokenizer.decode(ids[:n])) for n in range(len(ids))]
            assert max(starts[:-1]) < 3 <= starts[-1]  # the last is the token that ended the judged part


def test_rollouts_are_kept_and_a_resumed_source_repeats_them(tokenizer, tmp_path):
    first = source(tokenizer, tmp_path / "a")
    first.next(0)
    saved = first.state_dict()
    expected, _ = first.next(1)
    again = source(tokenizer, tmp_path / "b")
    again.load_state_dict(saved)
    found, _ = again.next(1)
    for a, b in zip(expected, found, strict=True):
        assert (a.inputs == b.inputs).all()
        assert (a.columns["advantages"] == b.columns["advantages"]).all()
    table = pq.read_table(tmp_path / "a" / "rollouts" / "2.parquet").to_pydict()
    assert len(table["prompt"]) == 12
    assert table["prompt"][0] == table["prompt"][3] != table["prompt"][4]
    assert set(table) == {"source", "prompt", "completion", "stop", "reward", "rewards.e", "advantage"}


def test_completions_without_a_verdict_are_counted_and_left_out(tokenizer, tmp_path):
    some = {"some": (lambda p, c, **k: [None if i % 2 else float(i) for i in range(len(c))], 1.0)}
    rollouts = source(tokenizer, tmp_path, rewards=some)
    batches, stats = rollouts.next(0)
    assert stats["rewards/masked"] == stats["rewards/some/masked"] == 6
    assert stats["rewards/some/failed"] == 0
    assert sum(len(set(b.unit)) for b in batches) == 6
    assert all(np.isfinite(b.columns["advantages"]).all() for b in batches)


def test_mostly_cut_completions_and_equal_rewards_refuse_to_go_on(tokenizer, tmp_path):
    with pytest.raises(DataRejected, match="max_completion_length"):
        source(tokenizer, tmp_path, max_clipped_ratio=0.1).next(0)
    same = {"same": (lambda p, c, **k: [0.5] * len(c), 1.0)}
    rollouts = source(tokenizer, tmp_path, rewards=same, dead_steps=2)
    rollouts.next(0)
    with pytest.raises(DataRejected, match="the same in 2 steps"):
        rollouts.next(1)


@pytest.mark.filterwarnings("error")
def test_rewards_without_any_verdict_refuse_to_go_on(tokenizer, tmp_path):
    rewards = {"fine": (lambda p, c, **k: [1.0] * len(c), 1.0), "mute": (lambda p, c, **k: [None] * len(c), 1.0)}
    rollouts = source(tokenizer, tmp_path, rewards=rewards, dead_steps=3)
    for step in range(2):
        batches, stats = rollouts.next(step)
        assert batches == []
        assert stats["frac_reward_zero_std"] == 1
        assert stats["rewards/mute/masked"] == 12
        assert np.isnan(stats["reward"])
        assert stats["rewards/fine/mean"] == 1
    with pytest.raises(DataRejected, match=r"verdict in 3 steps .* reward mute gave None for each; mend this reward"):
        rollouts.next(2)


def test_a_group_without_a_verdict_beside_live_ones_is_no_dead_step(tokenizer, tmp_path):
    some = {"some": (lambda p, c, **k: [None if i < 4 else float(i) for i in range(len(c))], 1.0)}
    rollouts = source(tokenizer, tmp_path, rewards=some, dead_steps=1)
    _, stats = rollouts.next(0)
    assert stats["frac_reward_zero_std"] == pytest.approx(1 / 3)


def test_a_reward_that_fails_is_counted_and_told_once(tokenizer, tmp_path):
    def fails_at_times(prompts, completions, **columns):
        return [1 / c.text.count("e") for c in completions]

    notes = []
    rollouts = source(tokenizer, tmp_path, rewards={"e": (fails_at_times, 1.0)}, max_reward_failures=0.9,
                      note=notes.append)  # fmt: skip
    for step in range(3):
        _, stats = rollouts.next(step)
        assert 0 < stats["rewards/e/failed"] == stats["rewards/masked"] < 12
    assert len(notes) == 1
    assert "reward e failed" in notes[0]
    assert "ZeroDivisionError" in notes[0]
    with pytest.raises(DataRejected, match="reward e failed for"):
        source(tokenizer, tmp_path, rewards={"e": (fails_at_times, 1.0)}).next(0)


def test_a_rollout_is_used_num_iterations_times_with_its_old_logprobs(tokenizer, tmp_path):
    rollouts = source(tokenizer, tmp_path, num_iterations=3)
    objective = policy_gradient.build(policy_gradient.Options(beta=0.0, epsilon=0.01), Context())
    seen, clipped, gradients = [], [], []
    for step in range(4):
        batches, stats = rollouts.next(step)
        seen.append(batches)
        assert bool(stats) == (step in (0, 3))
        clipped.append(gradient_step(rollouts.model, objective, batches)["clip_ratio"])
        with torch.no_grad():
            for weight in rollouts.model.parameters():
                gradients.append(float(weight.grad.abs().sum()))
                weight -= 0.5 * weight.grad
                weight.grad = None
    assert all(a is b is c for a, b, c in zip(*seen[:3], strict=True))
    assert seen[3][0] is not seen[0][0]
    assert clipped[0] == clipped[3] == 0  # the first update of a rollout: the ratio is 1
    assert clipped[1] > 0.05
    assert sorted(path.stem for path in (tmp_path / "rollouts").iterdir()) == ["1", "4"]
    for batch in seen[0]:
        assert set(batch.columns) == {"advantages", "rollout_logprobs", "reference_logprobs", "old_logprobs"}
        np.testing.assert_allclose(batch.columns["old_logprobs"], batch.columns["rollout_logprobs"], atol=1e-4)
    assert set(source(tokenizer, tmp_path / "one").next(0)[0][0].columns) == {
        "advantages", "rollout_logprobs", "reference_logprobs"
    }  # fmt: skip


def test_a_source_resumed_within_a_rollout_goes_on_with_it(tokenizer, tmp_path):
    first = source(tokenizer, tmp_path / "a", num_iterations=2)
    first.next(0)
    tensors: dict = {}
    tree = checkpoint._flatten(first.state_dict(), tensors, "source")
    again = source(tokenizer, tmp_path / "b", num_iterations=2)
    again.load_state_dict(checkpoint._restore(json.loads(json.dumps(tree)), tensors))
    for step in (1, 2):
        for one, other in zip(first.next(step)[0], again.next(step)[0], strict=True):
            for name in ("inputs", "positions", "lengths", "labels", "at", "unit"):
                assert (getattr(one, name) == getattr(other, name)).all()
                assert getattr(one, name).dtype == getattr(other, name).dtype
            assert one.columns.keys() == other.columns.keys()
            assert all((one.columns[key] == other.columns[key]).all() for key in one.columns)
            assert (one.temperature, one.banned) == (other.temperature, other.banned)
    used_up = first.state_dict()
    assert used_up["used"] == 1
    first.next(3)
    assert first.state_dict()["batches"] == []  # used up: nothing to save


def test_a_task_without_prompts_and_prompts_that_are_all_too_long_are_refused(tokenizer):
    class Nothing(Lines):
        def spots(self, document):
            return []

    with pytest.raises(DataRejected, match="no prompt"):
        PromptSet([document()], Nothing(), tokenizer, 20, None, None, 0)
    with pytest.raises(DataRejected, match="prompt_tokens"):
        PromptSet([document()], Lines(), tokenizer, 1, None, None, 0).take(3)


def test_prompts_to_evaluate_on_never_repeat(tokenizer):
    def prompts(most):
        return PromptSet([document()], Lines(), tokenizer, most, None, None, 3)

    every = prompts(20)
    assert len(every.take(99)) == len(every.places)
    few = prompts(8)  # some lines are longer
    found = few.take(len(few.places))
    assert 0 < len(found) == len(few.places) - few.too_long < len(few.places)
    assert len({prompt.columns["end"] for prompt in found}) == len(found)
    assert [p.text for p in prompts(8).take(2)] == [p.text for p in found[:2]]
    first = iter(prompts(8))
    assert [next(first).text for _ in range(5)] == [p.text for p in found[:5]]


def test_rewards_in_processes_give_the_same_rollouts(tokenizer, tmp_path):
    """Begun while others are sampled or not: the same rewards and batches."""
    name = str(Path(__file__).parents[1] / "rewards" / "slow_reward.py")
    pool = Pool({"name": name}, 0, 2, 30.0)
    here = plug("rewards", {"name": name}, Context())
    try:
        found = [
            source(tokenizer, tmp_path / str(i), {"slow": (reward, 1.0)}, how="sum").next(0)
            for i, reward in enumerate((here, pool))
        ]
    finally:
        pool.close()
    assert found[0][1]["reward"] == found[1][1]["reward"] > 0
    for a, b in zip(found[0][0], found[1][0], strict=True):
        np.testing.assert_array_equal(a.columns["advantages"], b.columns["advantages"])
        np.testing.assert_array_equal(a.labels, b.labels)
