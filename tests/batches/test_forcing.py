"""Scheduled sampling: what the decoder reads is the model's own in the share that was asked for, and nothing else."""

import numpy as np
import pytest
import torch

from penchant.batches.forcing import Forced, ratio_at
from penchant.batches.noise import MASK, Denoise
from penchant.models.architectures import from_shape
from penchant.models.quantities import drawn, quantities
from penchant.records import Encoded
from penchant.text.tokenizer import Tokenizer

SHAPE = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
         "max_position_embeddings": 64}  # fmt: skip


@pytest.fixture(scope="module")
def world():
    tokenizer = Tokenizer.train(["the cat sat on the mat"], 270).with_control((MASK,))
    ids = {"eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id}
    model = from_shape("recurrent", SHAPE, ids, tokenizer.vocab_size, 0)
    rng = np.random.default_rng(0)
    text = [i for i in range(tokenizer.vocab_size) if i not in tokenizer.special_ids]
    windows = [Encoded(rng.choice(text, n).astype(np.int32), np.zeros(n, bool)) for n in (40, 50, 60, 33)]
    return tokenizer, model, windows


def packed(world, ratio, numbers=(0, 1, 2, 3), schedule="constant", step=0):
    tokenizer, model, windows = world
    pack = Forced(Denoise(tokenizer, 3, tokenizer.eos_id, True, 0.3), model, schedule, ratio, 11, 5)
    assert pack.begin(step)["teacher_forcing_ratio"] == round(pack.ratio, 4)
    return pack([windows[n] for n in numbers], list(numbers))


@pytest.mark.parametrize("schedule", ["linear", "exponential", "inverse_sigmoid"])
def test_schedules_fall_from_one_to_the_least(schedule):
    found = [ratio_at(schedule, 0.3, step, 50) for step in range(50)]
    assert found[0] == pytest.approx(1) and found[-1] == pytest.approx(0.3)
    assert (np.diff(found) < 0).all()
    assert ratio_at("constant", 0.3, 0, 50) == 0.3
    assert ratio_at(schedule, 0.3, 0, 1) == pytest.approx(1)


def test_only_inputs_of_targets_give_way_and_in_the_share_asked_for(world):
    whole, mixed, none = (packed(world, ratio) for ratio in (1.0, 0.4, 0.0))
    first = np.flatnonzero(np.diff(np.concatenate([[0], whole.role])) == 1)  # the token that each decoder begins with
    for batch in (mixed, none):
        np.testing.assert_array_equal(batch.labels, whole.labels)
        changed = batch.inputs != whole.inputs
        assert not changed[whole.role == 0].any() and not changed[first].any()
    targets = (whole.role == 1).sum() - len(first)
    # With a vocabulary of 270 a drawn token is hardly ever the right one.
    assert (none.inputs != whole.inputs).sum() > 0.95 * targets
    assert (mixed.inputs != whole.inputs).sum() == pytest.approx(0.6 * targets, abs=3 * (0.24 * targets) ** 0.5)


def test_what_is_drawn_does_not_depend_on_how_the_step_is_cut(world):
    together = packed(world, 0.5)
    apart = [packed(world, 0.5, (n,)).inputs for n in range(4)]
    np.testing.assert_array_equal(together.inputs, np.concatenate(apart))


def test_held_out_text_is_forced(world):
    tokenizer, model, windows = world
    pack = Forced(Denoise(tokenizer, 3, tokenizer.eos_id, True, 0.3), model, "constant", 0.0, 11, 5)
    pack.begin(0)
    plain = pack.pack(windows[:1], [0], "held out")
    np.testing.assert_array_equal(pack(windows[:1], [0], "held out").inputs, plain.inputs)


def test_tokens_are_drawn_from_the_policy(world):
    batch = packed(world, 1.0)
    which = np.full(40_000, 7)
    found = drawn(world[1], batch, which, np.random.default_rng(1).random(len(which)))
    model = world[1]
    with torch.no_grad():
        ways = [batch.__class__(**{**{f: getattr(batch, f) for f in batch.__dataclass_fields__},
                                   "labels": np.full_like(batch.labels, token)}) for token in (5, 9)]  # fmt: skip
        wanted = [float(quantities(model, way, ("logprobs",))["logprobs"][7].exp()) for way in ways]
    for token, p in zip((5, 9), wanted, strict=True):
        assert (found == token).mean() == pytest.approx(p, abs=4 * (p / len(which)) ** 0.5)
