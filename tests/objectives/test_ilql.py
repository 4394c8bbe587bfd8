"""ILQL's terms against derivations in NumPy float64, and the properties of expectiles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.contracts import Context
from penchant.data.pack import next_token_batch
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.heads import add_heads
from penchant.models.quantities import quantities
from penchant.objectives import ilql
from penchant.training.gradient import gradient_step

NAMES = ("values", "q1_taken", "q2_taken", "target_q1_taken", "target_q2_taken", "q1_logsumexp", "q2_logsumexp",
         "logprobs")  # fmt: skip
LENGTHS = (5, 2, 9)


def batch(seed, lengths=LENGTHS, observed=()):
    """Rows of random tokens and rewards; `observed`: (row, token) that is no action."""
    random = np.random.default_rng(seed)
    rows = [random.integers(0, 11, n) for n in lengths]
    keep = [np.ones(n, bool) for n in lengths]
    for row, token in observed:
        keep[row][token] = False
    rewards = [np.where(k, random.normal(size=len(k)), 0.0) for k in keep]
    return next_token_batch(rows, keep, {"rewards": rewards})


def drawn(seed, n):
    """Random values of all quantities that a label may have (a logsumexp is above its value)."""
    random = np.random.default_rng(seed)
    found = {name: torch.tensor(random.normal(size=n), dtype=torch.float64) for name in NAMES}
    for q in ("q1", "q2"):
        found[f"{q}_logsumexp"] = found[f"{q}_taken"] + random.exponential(size=n)
    found["logprobs"] = -torch.tensor(random.exponential(size=n))
    return {name: value.float().requires_grad_() for name, value in found.items()}


def derived(q, rewards, unit, gamma, tau):
    """The four sums, label by label."""
    q = {name: value.detach().numpy().astype(np.float64) for name, value in q.items()}
    sums = dict.fromkeys(("value", "q", "cql", "clone"), 0.0)
    for n, reward in enumerate(rewards.astype(np.float64)):
        last = n + 1 == len(unit) or unit[n + 1] != unit[n]
        goal = reward + (0.0 if last else gamma * q["values"][n + 1])
        u = min(q["target_q1_taken"][n], q["target_q2_taken"][n]) - q["values"][n]
        sums["value"] += (tau if u > 0 else 1 - tau) * u * u
        for one in ("q1", "q2"):
            sums["q"] += (goal - q[f"{one}_taken"][n]) ** 2 / 2
            sums["cql"] += (q[f"{one}_logsumexp"][n] - q[f"{one}_taken"][n]) / 2
        sums["clone"] -= q["logprobs"][n]
    return sums


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), gamma=st.floats(0, 1), tau=st.floats(0.01, 0.99), alpha=st.sampled_from([0.0, 0.3]),
    clone=st.sampled_from([0.0, 2.0]), observed=st.booleans(),
)  # fmt: skip
def test_terms(seed, gamma, tau, alpha, clone, observed):
    one = batch(seed, observed=((0, 2), (2, 4), (2, 8)) if observed else ())
    n = len(one.labels)
    objective = ilql.build(ilql.Options(gamma=gamma, tau=tau, alpha=alpha, clone_weight=clone), Context())
    q = drawn(seed, n)
    terms = objective.loss(q, one)
    sums = derived(q, one.columns["rewards"], one.unit, gamma, tau)
    weights = {"value": 1.0, "q": 1.0, "cql": alpha, "clone": clone}
    assert terms.keys() == {name for name, weight in weights.items() if weight} == objective.totals([one]).keys()
    assert set(objective.quantities) <= set(NAMES)
    for name, term in terms.items():
        assert term.sum.item() == pytest.approx(weights[name] * sums[name], rel=1e-4, abs=1e-4)
        assert term.weight == n == objective.totals([one])[name]


def test_what_is_a_target_gets_no_gradient():
    """Values learn from the targets' Q alone, Q from the next value as a constant; targets learn from nothing."""
    one = batch(0)
    q = drawn(0, len(one.labels))
    terms = ilql.build(ilql.Options(), Context()).loss(q, one)
    for name, moved in {
        "value": {"values"},
        "q": {"q1_taken", "q2_taken"},
        "cql": {"q1_taken", "q2_taken", "q1_logsumexp", "q2_logsumexp"},
        "clone": {"logprobs"},
    }.items():
        grads = torch.autograd.grad(terms[name].sum, list(q.values()), retain_graph=True, allow_unused=True)
        assert {key for key, grad in zip(q, grads, strict=True) if grad is not None and grad.abs().sum() > 0} == moved


def test_a_text_of_one_action_and_one_of_none():
    """One label: the target is its reward. A batch without labels has sums of 0."""
    objective = ilql.build(ilql.Options(tau=0.5), Context())
    one = batch(3, (2,))
    q = drawn(3, 1)
    error = objective.loss(q, one)["q"].sum.item()
    reward = float(one.columns["rewards"][0])
    both = [reward - q[name].item() for name in ("q1_taken", "q2_taken")]
    assert error == pytest.approx(sum(e * e for e in both) / 2, rel=1e-5)
    none = batch(3, (3,), observed=((0, 1), (0, 2)))
    assert all(term.sum.item() == 0 for term in objective.loss(drawn(3, 0), none).values())


def expectile(x, tau):
    """By bisection of its first-order condition: tau E(x - v)+ = (1 - tau) E(v - x)+."""
    low, high = x.min(), x.max()
    for _ in range(200):
        v = (low + high) / 2
        low, high = (
            (v, high) if tau * np.maximum(x - v, 0).mean() > (1 - tau) * np.maximum(v - x, 0).mean() else (low, v)
        )
    return low


numbers = st.lists(st.floats(-50, 50), min_size=1, max_size=8).map(np.array)


@settings(max_examples=100, deadline=None)
@given(x=numbers, tau=st.floats(0.02, 0.98), other=st.floats(0.02, 0.98), shift=st.floats(-9, 9))
def test_expectiles(x, tau, other, shift):
    """The loss is least at the expectile, which grows with tau, is the mean at a half, and moves with the data."""
    best = expectile(x, tau)

    def loss(v):
        return ilql.expectile_loss(torch.from_numpy(x - v), tau).mean().item()

    assert loss(best) >= 0
    assert all(loss(best) <= loss(best + step) + 1e-9 for step in (-1.0, -1e-3, 1e-3, 1.0))
    v = torch.tensor(best, dtype=torch.float64, requires_grad=True)
    ilql.expectile_loss(torch.from_numpy(x) - v, tau).mean().backward()
    assert abs(v.grad.item()) < 1e-6 * (1 + np.abs(x).max())
    assert (expectile(x, other) >= best - 1e-9) if other >= tau else (expectile(x, other) <= best + 1e-9)
    assert expectile(x, 0.5) == pytest.approx(x.mean(), abs=1e-6)
    assert expectile(x + shift, tau) == pytest.approx(best + shift, abs=1e-6)
    assert x.max() - expectile(x, 1 - 1e-9) < 1e-6 * (1 + np.ptp(x))


def small_model(seed=0):
    config = DecoderConfig(vocab_size=11, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
                           num_attention_heads=2, num_key_value_heads=2, initializer_range=0.3)  # fmt: skip
    model = Decoder(config).initialise(seed)
    add_heads(model, ilql.HEADS)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.heads.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return model


def test_action_values_are_read_and_summed_as_from_the_whole_matrix(monkeypatch):
    """`q1_taken` and `q1_logsumexp`, and their gradients, against [tokens, vocabulary] at once."""
    import penchant.models.quantities as module

    monkeypatch.setattr(module, "LOGITS", 40)  # chunks of a few labels
    model, one = small_model(), batch(1)
    got = quantities(model, one, ("q1_taken", "q1_logsumexp", "target_q2_taken"))
    ids, positions, lengths = (torch.from_numpy(x) for x in (one.inputs, one.positions, one.lengths))
    matrix = model.heads["q1"](model(ids, positions, lengths)[torch.from_numpy(one.at)])
    taken = matrix.gather(1, torch.from_numpy(one.labels)[:, None]).squeeze(1)
    torch.testing.assert_close(got["q1_taken"], taken)
    torch.testing.assert_close(got["q1_logsumexp"], matrix.logsumexp(-1))
    parameters = [p for p in model.parameters() if p.requires_grad]
    weight = torch.linspace(-1, 1, len(taken))
    mine = torch.autograd.grad((got["q1_logsumexp"] * weight - got["q1_taken"]).sum(), parameters, allow_unused=True)
    theirs = torch.autograd.grad((matrix.logsumexp(-1) * weight - taken).sum(), parameters, allow_unused=True)
    for a, b in zip(mine, theirs, strict=True):
        if b is None:  # output layer and other heads
            assert a is None
        else:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert not model.heads["target_q2"].weight.requires_grad


def test_the_gradient_does_not_depend_on_how_rows_are_cut():
    objective = ilql.build(ilql.Options(), Context())
    random = np.random.default_rng(5)
    rows = [random.integers(0, 11, n) for n in (4, 7, 3, 6)]
    rewards = [random.normal(size=len(row)) for row in rows]

    def gradient(size):
        model = small_model()
        cut = [slice(a, a + size) for a in range(0, len(rows), size)]
        gradient_step(model, objective, [next_token_batch(rows[c], None, {"rewards": rewards[c]}) for c in cut])
        return [p.grad for p in model.parameters() if p.grad is not None]

    for a, b, c in zip(gradient(4), gradient(1), gradient(3), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(a, c, rtol=1e-4, atol=1e-6)
