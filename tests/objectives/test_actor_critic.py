"""The critic's loss against NumPy, and what it tells of itself."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.contracts import Context
from penchant.objectives import actor_critic
from penchant.objectives.actor_critic import value_error
from penchant.records import Batch

NUMBERS = st.floats(-20, 20)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=12), st.floats(0.01, 5))
def test_the_clipped_error_is_the_larger_of_two(rows, clip):
    """Each row written out: the worse of where a value is and where it may be."""
    values, returns, old = (np.array(column) for column in zip(*rows, strict=True))
    found = value_error(torch.tensor(values), torch.tensor(returns), torch.tensor(old), clip).numpy()
    for v, r, o, error in zip(values, returns, old, found, strict=True):
        allowed = min(max(v, o - clip), o + clip)
        assert error == pytest.approx(0.5 * max((v - r) ** 2, (allowed - r) ** 2), rel=1e-9, abs=1e-12)
    plain = value_error(torch.tensor(values), torch.tensor(returns), torch.tensor(old), None).numpy()
    np.testing.assert_allclose(plain, 0.5 * (values - returns) ** 2)
    assert (found >= plain - 1e-12).all()


def test_the_gradient_stops_where_the_clipped_error_is_the_worse():
    """Values that have moved towards their return by more than the bound pull no more."""
    values = torch.tensor([1.0, 0.1, -1.0], dtype=torch.float64, requires_grad=True)
    returns, old = torch.tensor([2.0, 2.0, 2.0]).double(), torch.zeros(3).double()
    value_error(values, returns, old, 0.2).sum().backward()
    np.testing.assert_allclose(values.grad.numpy(), [0.0, 0.1 - 2.0, -1.0 - 2.0])


def test_terms_and_what_they_tell():
    options = actor_critic.Options(vf_coef=0.5, cliprange_value=0.3, beta=0.0)
    objective = actor_critic.build(options, Context(0))
    values, returns = np.array([0.0, 1.0, 2.0], np.float32), np.array([1.0, 1.0, 0.0], np.float32)
    old = np.array([0.1, 0.5, 1.9], np.float32)
    columns = {
        "advantages": np.ones(3, np.float32),
        "rollout_logprobs": np.zeros(3, np.float32),
        "returns": returns,
        "old_values": old,
    }
    batch = Batch(
        inputs=np.array([1, 2, 3]), positions=np.arange(3), lengths=np.array([3]), labels=np.array([2, 3, 1]),
        at=np.arange(3), unit=np.zeros(3, np.int64), columns=columns,
    )  # fmt: skip
    quantities = {"logprobs": torch.zeros(3), "entropy": torch.zeros(3), "values": torch.tensor(values)}
    term = objective.loss(quantities, batch)["value"]
    told = {name: total / count for name, (total, count) in term.stats.items()}
    allowed = np.clip(values, old - 0.3, old + 0.3)
    assert float(term.sum) == pytest.approx(
        np.maximum((values - returns) ** 2, (allowed - returns) ** 2).sum() / 2, rel=1e-6
    )
    assert told["value_error"] == pytest.approx(((values - returns) ** 2).mean())
    assert told["value_clip_ratio"] == pytest.approx(1 / 3)  # only the second moved by more than 0.3
    assert objective.totals([batch])["value"] == 3 / 0.5
