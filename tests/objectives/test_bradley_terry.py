"""Bradley-Terry against NumPy: soft labels, margins, weights, ties; and the weights that even out length."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.batches.balance import by_length, preferred_longer
from penchant.batches.rows import Item
from penchant.contracts import Context
from penchant.data.pack import next_token_batch
from penchant.errors import DataRejected
from penchant.objectives import bradley_terry

SCORE = st.floats(-30, 30, width=32)
PAIR = st.tuples(SCORE, SCORE, st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), st.floats(0, 3, width=32),
                 st.floats(0.125, 4, width=32))  # fmt: skip


def batch(pairs):
    """One label a sequence, as where a score is read."""
    columns = {name: [np.full(2, pair[k], np.float32) for pair in pairs for _ in range(2)]
               for k, name in ((2, "probability"), (3, "margin"), (4, "weight"))}  # fmt: skip
    scores = torch.tensor([value for pair in pairs for value in pair[:2]], dtype=torch.float64)
    return next_token_batch([np.zeros(2, np.int64) for _ in range(2 * len(pairs))], columns=columns), scores


def loss_of(objective, made, scores):
    terms, totals = objective.loss({"score": scores}, made), objective.totals([made])
    return sum(float(term.sum) / totals[name] for name, term in terms.items()), terms


@settings(max_examples=80, deadline=None)
@given(st.lists(PAIR, min_size=1, max_size=6), st.floats(0.001, 1))
def test_the_loss_is_the_equation(pairs, center):
    objective = bradley_terry.build(
        bradley_terry.Options(center_rewards_coefficient=center, length_balance=True), Context()
    )
    value, terms = loss_of(objective, *batch(pairs))
    a, b, p, margin, weight = np.array(pairs, np.float32).astype(float).T
    gap = a - b - margin
    each = p * np.logaddexp(0, -gap) + (1 - p) * np.logaddexp(0, gap)
    wanted = (weight * each).sum() / weight.sum() + center * ((a + b) ** 2).mean()
    assert value == pytest.approx(wanted, rel=1e-6)
    decided = p != 0.5
    right = np.where(a == b, 0.5, (a > b) == (p > 0.5))[decided].sum()
    assert terms["preference"].stats["rewards/accuracies"] == (pytest.approx(right), decided.sum())
    assert terms["preference"].stats["rewards/ties"] == ((~decided).sum(), len(pairs))


def test_a_tie_pulls_scores_together_and_is_neither_right_nor_wrong():
    objective = bradley_terry.build(bradley_terry.Options(center_rewards_coefficient=0), Context())
    made, scores = batch([(2.0, -1.0, 0.5, 0.0, 1.0)])
    scores.requires_grad_()
    objective.loss({"score": scores}, made)["preference"].sum.backward()
    assert scores.grad is not None and float(scores.grad[0]) > 0 > float(scores.grad[1])


def item(chosen, rejected, probability=None):
    both = ((1,) * chosen, (1,) * rejected)
    known = {} if probability is None else {"probability": tuple(np.full(len(c), probability) for c in both)}
    return Item((1,), both, known)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5), st.sampled_from([0.0, 0.5, 0.8, 1.0])), max_size=30))
def test_balanced_pairs_weigh_the_same_whichever_is_longer(rows):
    items = [item(2, 1), item(1, 2), *(item(*row) for row in rows)]
    items = [item(len(i.completions[0]), len(i.completions[1]),
                  float(i.columns["probability"][0][0]) if i.columns else 1.0) for i in items]  # fmt: skip
    weights = np.array([float(i.columns["weight"][0][0]) for i in by_length(items)])
    side = preferred_longer(items)
    assert weights[side == 1].sum() == pytest.approx(weights[side == -1].sum(), rel=1e-5)
    assert weights.mean() == pytest.approx(1, rel=1e-5)
    for row, one in zip(rows, side[2:], strict=True):
        assert one == np.sign(row[0] - row[1]) * np.sign(row[2] - 0.5)


def test_where_length_decides_everything_nothing_can_be_balanced():
    with pytest.raises(DataRejected, match="longer answer is preferred in every pair"):
        by_length([item(3, 1), item(5, 2)])
