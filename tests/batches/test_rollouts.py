"""Rollouts: what is sampled is what is trained on; credit, masks, refusals, and the same batches after a resume."""

from types import MappingProxyType

import numpy as np
import pyarrow.parquet as pq
import pytest

from penchant.advantages.group import group_advantages
from penchant.batches.prompts import PromptSet
from penchant.batches.rollouts import Rollouts, Sampling, combine, score
from penchant.contracts import Judgement, Measure, Spot
from penchant.errors import DataRejected, InputError
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.quantities import quantities
from penchant.records import Document
from penchant.text.tokenizer import Tokenizer

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
    prompts = PromptSet([document()], Lines(), tokenizer, 20, "good", "toy", 0.5, seed=3)
    good = tokenizer.control_ids["good"]
    ban = tuple(i for i in tokenizer.special_ids if i != tokenizer.eos_id)
    sampling = Sampling(12, 0.8, (tokenizer.eos_id,), ban, {tokenizer.newline_id: good})
    rewards = rewards or {"e": (lambda p, c, **k: [x.text.count("e") + 0.01 * len(x.text) for x in c], 1.0)}
    settings = {"batch_size": 12, "num_generations": 4, "micro_batch_size": 5, "how": how, "seed": 1,
                "folder": folder, "max_clipped_ratio": 1.0} | changes  # fmt: skip
    return Rollouts(model, model, tokenizer, Lines(), prompts, rewards, group_advantages, sampling, **settings)


def test_labels_are_the_chosen_tokens_that_earn_credit_with_the_samplers_logprobs(tokenizer, tmp_path):
    rollouts = source(tokenizer, tmp_path)
    batches, stats = rollouts.next(0)
    special = set(tokenizer.special_ids) - {tokenizer.eos_id}
    assert sum(len(b.lengths) for b in batches) == 12
    assert 0 < stats["completions/judged_share"] < 1
    for batch in batches:
        assert not set(batch.labels.tolist()) & special
        found = quantities(rollouts.model, batch, ("logprobs",))["logprobs"].detach().numpy()
        assert np.abs(found - batch.columns["rollout_logprobs"]).mean() < 1e-5
        np.testing.assert_allclose(found, batch.columns["reference_logprobs"], atol=1e-5)
        for unit in range(len(batch.lengths)):
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


def test_parts_combine_as_product_or_sum_and_no_verdict_masks():
    parts = np.array([[0.5, 1.0, np.nan], [0.5, 0.25, 1.0]])
    np.testing.assert_allclose(combine(parts, np.array([1.0, 1.0]), "product"), [0.25, 0.25, np.nan])
    np.testing.assert_allclose(combine(parts, np.array([1.0, 2.0]), "sum"), [1.5, 1.5, np.nan])


def test_a_reward_that_gives_another_number_of_values_is_refused():
    with pytest.raises(InputError, match="short gave 1 values for 2"):
        score({"short": (lambda p, c, **k: [1.0], 1.0)}, [None, None], [None, None], [], "sum")


def test_a_negative_reward_in_a_product_is_refused():
    with pytest.raises(InputError, match="combine=sum"):
        score({"low": (lambda p, c, **k: [-1.0, 0.5], 1.0)}, [None, None], [None, None], [], "product")


def test_completions_without_a_verdict_are_counted_and_left_out(tokenizer, tmp_path):
    some = {"some": (lambda p, c, **k: [None if i % 2 else float(i) for i in range(len(c))], 1.0)}
    rollouts = source(tokenizer, tmp_path, rewards=some)
    batches, stats = rollouts.next(0)
    assert stats["rewards/masked"] == 6
    assert sum(len(b.lengths) for b in batches) == 6
    assert all(np.isfinite(b.columns["advantages"]).all() for b in batches)


def test_mostly_cut_completions_and_equal_rewards_refuse_to_go_on(tokenizer, tmp_path):
    with pytest.raises(DataRejected, match="max_completion_length"):
        source(tokenizer, tmp_path, max_clipped_ratio=0.1).next(0)
    same = {"same": (lambda p, c, **k: [0.5] * len(c), 1.0)}
    rollouts = source(tokenizer, tmp_path, rewards=same, dead_steps=2)
    rollouts.next(0)
    with pytest.raises(DataRejected, match="the same in 2 steps"):
        rollouts.next(1)


def test_a_task_without_prompts_and_prompts_that_are_all_too_long_are_refused(tokenizer):
    class Nothing(Lines):
        def spots(self, document):
            return []

    with pytest.raises(DataRejected, match="no prompt"):
        PromptSet([document()], Nothing(), tokenizer, 20, None, "toy", 0.5, 0)
    with pytest.raises(DataRejected, match="prompt_tokens"):
        PromptSet([document()], Lines(), tokenizer, 1, None, "toy", 0.5, 0).take(3)


def test_prompts_to_evaluate_on_never_repeat(tokenizer):
    def prompts(most):
        return PromptSet([document()], Lines(), tokenizer, most, None, "toy", 0.5, 3)

    every = prompts(20)
    assert len(every.take(99)) == len(every.places)
    few = prompts(8)  # some lines are longer
    found = few.take(len(few.places))
    assert 0 < len(found) == len(few.places) - few.too_long < len(few.places)
    assert len({prompt.columns["end"] for prompt in found}) == len(found)
    assert [p.text for p in prompts(8).take(2)] == [p.text for p in found[:2]]
    first = iter(prompts(8))
    assert [next(first).text for _ in range(5)] == [p.text for p in found[:5]]
