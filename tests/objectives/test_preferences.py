"""Objectives on pairs and on labelled answers: against NumPy, at the edges, and for any cut."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant import registry
from penchant.contracts import Context
from penchant.data.halve import halves
from penchant.data.pack import next_token_batch
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.training.gradient import gradient_step

LOGP = st.floats(-40, -1e-4)
ROW = st.lists(st.tuples(LOGP, LOGP), min_size=1, max_size=4)
PAIRS = st.lists(st.tuples(ROW, ROW, st.floats(0, 1)), min_size=1, max_size=4)
NAMES = ["dpo", "simpo", "cpo", "orpo"]


def made(name, **options):
    module = registry.load("objectives", name)
    return module.build(module.Options(**options), Context())


def packed(rows, soft=None):
    """A batch of sequences of (policy, reference) log-probs, and the policy's as a tensor in float64."""
    policy = torch.tensor([p for row in rows for p, _ in row], dtype=torch.float64)
    columns = {"reference_logprobs": [np.array([0.0, *(r for _, r in row)]) for row in rows]}
    if soft is not None:
        columns["probability"] = [np.full(len(row) + 1, p) for row, p in zip(rows, soft, strict=True)]
    return next_token_batch([np.zeros(len(row) + 1, np.int64) for row in rows], columns=columns), policy


def sigmoid(x):
    return 0.5 * (1 + np.tanh(np.asarray(x) / 2))


def log_sigmoid(x):
    return -np.logaddexp(0, -np.asarray(x))


def total(objective, batch, policy):
    terms = objective.loss({"logprobs": policy}, batch)
    totals = objective.totals([batch])
    assert terms.keys() == totals.keys()
    return sum(float(term.sum) / totals[name] for name, term in terms.items()), terms


@settings(max_examples=60, deadline=None)
@given(PAIRS, st.floats(0.05, 1.0), st.floats(0.01, 0.4), st.booleans())
def test_dpo_and_its_kin(pairs, beta, smooth, soft):
    rows = [row for chosen, rejected, _ in pairs for row in (chosen, rejected)]
    probabilities = np.array([p for _, _, p in pairs], np.float32).astype(float)
    batch, policy = packed(rows, [p for _, _, p in pairs for _ in range(2)] if soft else None)
    reference = batch.columns["reference_logprobs"].astype(float)
    gaps, at = [], 0
    for row in rows:
        gaps.append(policy.numpy()[at : at + len(row)] - reference[at : at + len(row)])
        at += len(row)
    sums = np.array([g.sum() for g in gaps]).reshape(-1, 2)
    means = np.array([g.mean() for g in gaps]).reshape(-1, 2)
    h, mean = sums[:, 0] - sums[:, 1], means[:, 0] - means[:, 1]
    p = probabilities if soft else 1 - smooth
    wanted = {
        "sigmoid": -p * log_sigmoid(beta * h) - (1 - p) * log_sigmoid(-beta * h),
        "robust": (-(1 - smooth) * log_sigmoid(beta * h) + smooth * log_sigmoid(-beta * h)) / (1 - 2 * smooth),
        "ipo": (mean - (2 * p - 1) / (2 * beta)) ** 2,
        "hinge": np.maximum(0, 1 - beta * h),
    }
    for kind, expected in wanted.items():
        objective = made("dpo", beta=beta, loss_type=kind, label_smoothing=smooth)
        found, terms = total(objective, batch, policy)
        assert found == pytest.approx(expected.mean(), rel=1e-4, abs=1e-5)
        if kind == "sigmoid":
            stats = terms["dpo"].stats
            assert stats["rewards/margins"][0] == pytest.approx(beta * h.sum(), rel=1e-4, abs=1e-4)
            assert stats["rewards/accuracies"][1] == len(pairs)


@settings(max_examples=60, deadline=None)
@given(PAIRS, st.floats(0.05, 2.0), st.floats(0.0, 2.0))
def test_losses_without_a_reference(pairs, beta, extra):
    rows = [row for chosen, rejected, _ in pairs for row in (chosen, rejected)]
    batch, policy = packed(rows)
    own = [np.array([p for p, _ in row]) for row in rows]
    sums = np.array([x.sum() for x in own]).reshape(-1, 2)
    means = np.array([x.mean() for x in own]).reshape(-1, 2)

    def odds(m):
        m = np.minimum(m, -1e-6)
        return m - np.log(-np.expm1(m))

    wanted = {
        "simpo": (-log_sigmoid(beta * (means[:, 0] - means[:, 1]) - extra), {"gamma": extra}),
        "cpo": (-log_sigmoid(beta * (sums[:, 0] - sums[:, 1])) - extra * means[:, 0], {"cpo_alpha": extra}),
        "orpo": (-means[:, 0] - beta * log_sigmoid(odds(means[:, 0]) - odds(means[:, 1])), {}),
    }
    for name, (expected, options) in wanted.items():
        found, _ = total(made(name, beta=beta, **options), batch, policy)
        assert found == pytest.approx(expected.mean(), rel=1e-5, abs=1e-7)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(ROW, st.booleans()), min_size=1, max_size=6), st.floats(0.05, 1.0), st.floats(0, 3))
def test_kto(rows, beta, kl):
    batch, policy = packed([row for row, _ in rows])
    label = np.concatenate([np.full(len(row), float(good)) for row, good in rows])
    columns = {**batch.columns, "label": label.astype(np.float32), "kl": np.full(len(label), kl, np.float32)}
    batch = type(batch)(**{f: getattr(batch, f) for f in batch.__slots__} | {"columns": columns})
    gaps = np.array([sum(p - np.float32(r) for p, r in row) for row, _ in rows])
    good = np.array([g for _, g in rows])
    wanted = np.where(good, 1.5 * (1 - sigmoid(beta * (gaps - kl))), 0.5 * (1 - sigmoid(beta * (kl - gaps))))
    found, _ = total(made("kto", beta=beta, desirable_weight=1.5, undesirable_weight=0.5), batch, policy)
    assert found == pytest.approx(wanted.mean(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_edges(name):
    """Far margins, ties and answers without a label give finite losses and gradients."""
    for rows in (
        [[(-1e4, 0.0)], [(-1e-8, 0.0)]],
        [[(-1e-8, 0.0)], [(-1e4, 0.0)]],
        [[(-2.0, -2.0)], [(-2.0, -2.0)]],
        [[(0.0, 0.0)], [(-1.0, -1.0)]],
    ):
        batch, policy = packed(rows)
        policy.requires_grad_()
        _, terms = total(made(name), batch, policy)
        sum(term.sum for term in terms.values()).backward()
        assert torch.isfinite(policy.grad).all()
    tie, _ = total(made("dpo"), *packed([[(-2.0, -2.0)], [(-2.0, -2.0)]]))
    assert tie == pytest.approx(np.log(2))
    whole = next_token_batch(
        [np.zeros(3, np.int64)] * 2,
        [np.ones(3, bool), np.zeros(3, bool)],
        {"reference_logprobs": [np.zeros(3)] * 2},
    )
    found, _ = total(made(name), whole, torch.tensor([-1.0, -2.0], dtype=torch.float64))
    assert np.isfinite(found)


@pytest.mark.parametrize("name", [*NAMES, "kto"])
def test_any_cut_gives_the_same_gradient(name):
    config = DecoderConfig(
        vocab_size=20, hidden_size=16, intermediate_size=16, num_hidden_layers=1, initializer_range=0.3
    )
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 20, n) for n in (5, 9, 4, 7, 3, 6)]
    columns = {c: [rng.normal(size=len(row)) for row in rows] for c in ("reference_logprobs", "label", "kl")}
    columns["label"] = [np.full(len(row), float(i % 2)) for i, row in enumerate(rows)]
    columns["kl"] = [np.full(len(row), 0.3) for row in rows]
    whole = next_token_batch(rows, columns=columns)
    objective = made(name)
    gradients = []
    for batches in (
        [whole],
        halves(whole, objective.unit),
        [h for b in halves(whole, objective.unit) for h in halves(b, objective.unit)],
    ):
        model = Decoder(config).initialise(1)
        gradient_step(model, objective, batches)
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert gradients[0].norm() > 0
    for other in gradients[1:]:
        assert (other - gradients[0]).norm() / gradients[0].norm() < 1e-5
