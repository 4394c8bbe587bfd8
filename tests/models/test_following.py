"""Slow weights: Polyak averages that survive rounding and a restart."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.models.following import Following


@settings(deadline=None)
@given(rate=st.floats(0.001, 1), steps=st.integers(0, 30), seed=st.integers(0, 999))
def test_the_average_of_what_was_followed(rate, steps, seed):
    """slow = (1 - rate)^n first + sum rate (1 - rate)^(n - i) fast_i."""
    random = torch.Generator().manual_seed(seed)
    slow, fast = torch.zeros(3), torch.randn(3, generator=random)
    expected = fast.double().clone()
    follower = Following(rate)
    follower.begin({"a": (slow, fast)})
    assert torch.equal(slow, fast)
    for _ in range(steps):
        fast.copy_(torch.randn(3, generator=random))
        follower.move()
        expected = (1 - rate) * expected + rate * fast.double()
    torch.testing.assert_close(slow.double(), expected, rtol=1e-4, atol=1e-5)


def test_steps_below_the_rounding_of_bfloat16_add_up():
    slow, fast = torch.zeros(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16)
    follower = Following(0.001)
    follower.begin({"a": (slow, fast)})
    fast.fill_(2.0)
    for _ in range(693):  # half the way
        follower.move()
    assert slow.float().mean().item() == pytest.approx(1.5, abs=0.01)
    assert torch.ones(1, dtype=torch.bfloat16).lerp(fast[:1], 0.001) == 1  # what a step of such weights would do


def test_going_on_from_a_saved_state_is_the_same_bits():
    def made():
        slow, fast = torch.zeros(4, dtype=torch.bfloat16), torch.linspace(0, 1, 4, dtype=torch.bfloat16)
        follower = Following(0.1)
        follower.begin({"a": (slow, fast)})
        return follower, slow, fast

    whole, slow, fast = made()
    fast.mul_(3)
    whole.move()
    saved = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    whole.move()
    again, other, fast = made()
    fast.mul_(3)
    again.load_state_dict(saved)
    again.move()
    assert torch.equal(slow, other)
    assert torch.equal(whole.state_dict()["a"], again.state_dict()["a"])
