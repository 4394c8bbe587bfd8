"""Every estimator's expected gradient, over all that could be sampled: the exact one, or its documented surrogate's."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from penchant import registry
from penchant.contracts import Context
from penchant.objectives.kl import divergence

sys.path.insert(0, str(Path(__file__).parents[1] / "oracles"))
from tiny_mdp import TEXTS, Policy, expected_gradient, groups_of

POLICY = Policy()


def made(name, **options):
    module = registry.load("algorithms", name)
    return module.build(module.Options(**{"beta": 0.0, **options}), Context())


def close(found, expected, rel=1e-4):
    assert np.abs(found - expected).max() < rel * np.abs(expected).max()


def likeness(a, b):
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


def test_the_exact_gradient_is_that_of_the_expected_reward():
    """The oracle against finite differences."""
    policy, step = Policy(), 1e-6
    exact = policy.exact()
    for place in [(0, 0), (0, 3), (2, 1), (7, 2)]:
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                policy.logits[place] += sign * step
            values.append(sum(policy.probability(t) * policy.rewards[t] for t in TEXTS))
            with torch.no_grad():
                policy.logits[place] -= sign * step
        assert exact[place] == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-7)


def test_unbiased_estimators_and_their_variance():
    exact = POLICY.exact()
    plain, noise = expected_gradient(POLICY, made("reinforce", baseline="none"), 1)
    close(plain, -exact)
    average = made("reinforce")
    average.advantages.sum, average.advantages.weight, average.advantages.decay = 0.3, 1.0, 1.0  # any baseline
    close(expected_gradient(POLICY, average, 1)[0], -exact)
    rloo, less = expected_gradient(POLICY, made("rloo"), 2)
    close(rloo, -exact)
    generous = Policy()
    generous.rewards = {text: reward + 2 for text, reward in generous.rewards.items()}
    plain, more = expected_gradient(generous, made("reinforce", baseline="none"), 1)
    close(plain, -exact)
    assert more > 5 * noise  # what all get alike is noise without a baseline
    assert expected_gradient(generous, made("rloo"), 2)[1] == pytest.approx(less, rel=1e-4)


def test_dr_grpo_is_the_exact_gradient_but_for_a_factor():
    """The mean holds the sample itself: (K - 1) / K of the gradient."""
    close(expected_gradient(POLICY, made("dr_grpo"), 2)[0], -POLICY.exact() / 2)


def _surrogate(advantage, weight, size=2):
    """Sum over groups of P sum_i w_i A_i grad log p(y_i), written out."""
    grads = {t: POLICY.gradient(POLICY.logprobs(t).sum()) for t in TEXTS}
    total = np.zeros(POLICY.logits.shape)
    for group, chance in groups_of(POLICY, size):
        rewards = np.array([POLICY.rewards[t] for t in group])
        for i, text in enumerate(group):
            total += chance * weight(group, i) * advantage(rewards)[i] * grads[text]
    return total


def _standard(floor):
    return lambda rewards: (rewards - rewards.mean()) / (rewards.std() + floor)


@pytest.mark.parametrize(
    ("name", "floor", "weight"),
    [
        ("grpo", 0.1, lambda group, i: 1 / sum(map(len, group))),
        ("dapo", 1e-4, lambda group, i: 1 / sum(map(len, group))),
        ("gspo", 0.1, lambda group, i: 1 / len(group) / len(group[i])),
        ("cispo", 0.1, lambda group, i: 1 / sum(map(len, group))),
    ],
)
def test_scaled_estimators_follow_their_surrogate_which_leans_from_the_exact_gradient(name, floor, weight):
    """Division by the group's deviation and by lengths: a documented bias; the direction is still mostly right."""
    options = {"overlong_buffer": 0} if name == "dapo" else {}
    found, _ = expected_gradient(POLICY, made(name, **options), 2)
    close(found, -_surrogate(_standard(floor), weight))
    assert 0.6 < likeness(-found, POLICY.exact()) < 0.9999


def test_expert_iteration_raises_the_likelihood_of_the_best():
    found, _ = expected_gradient(POLICY, made("expert_iteration"), 2)

    def best(rewards):
        return (np.arange(2) == np.argmax(rewards)).astype(float)

    close(found, -_surrogate(best, lambda group, i: 1 / sum(map(len, group))))
    assert likeness(-found, POLICY.exact()) > 0.3


def test_minimum_risk_is_the_gradient_of_the_renormalised_reward():
    """Of sum over groups of P(group) sum_i q_i r_i, the groups' chances held fixed."""
    alpha, found = 0.3, np.zeros(POLICY.logits.shape)
    total = torch.zeros(())
    for group, chance in groups_of(POLICY, 2):
        scores = torch.stack([POLICY.logprobs(t).sum() for t in group]) * alpha
        q = scores.exp() / scores.exp().sum()
        total = total + chance * (q * torch.tensor([POLICY.rewards[t] for t in group])).sum()
    found, _ = expected_gradient(POLICY, made("minimum_risk", alpha=alpha), 2)
    close(found, -POLICY.gradient(total))


def critic(name, lam, **options):
    return made(name, lam=lam, whiten_advantages=False, loss_type="sum", vf_coef=0.0, **options)


@pytest.mark.parametrize("name", ["a2c", "ppo"])
@pytest.mark.parametrize("lam", [1.0, 0.6, 0.0])
def test_critics_with_exact_values_are_unbiased_whatever_lambda(name, lam):
    found, noise = expected_gradient(POLICY, critic(name, lam), 1, values=POLICY.value)
    close(found, -POLICY.exact())
    _, plain = expected_gradient(POLICY, made("reinforce", baseline="none"), 1)
    assert noise < plain


def test_critics_with_wrong_values_are_unbiased_at_lambda_1_alone():
    wrong = {
        prefix: np.sin(5 * i) for i, prefix in enumerate(dict.fromkeys(t[:n] for t in TEXTS for n in range(len(t))))
    }
    close(expected_gradient(POLICY, critic("a2c", 1.0), 1, values=wrong.get)[0], -POLICY.exact())
    close(
        expected_gradient(POLICY, made("reinforce", baseline="learned", vf_coef=0.0), 1, values=wrong.get)[0],
        -POLICY.exact(),
    )
    leans, _ = expected_gradient(POLICY, critic("a2c", 0.5), 1, values=wrong.get)
    assert np.abs(leans + POLICY.exact()).max() > 0.05 * np.abs(POLICY.exact()).max()


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_the_kls_gradient(estimator):
    """k2: that of each state's KL with the states as they are; k1: none; k3: none either, but for sampling's own part.

    E[d k3] = E[(1 - q/p) d log p] = -sum q d log p, the gradient of KL(q || p), the other way round.
    """
    other = Policy(seed=5)
    flat = made("reinforce", baseline="none", beta=1.0, kl_estimator=estimator)
    flat.objective.beta = 1.0
    zero = Policy()
    zero.rewards = dict.fromkeys(TEXTS, 0.0)
    found, _ = expected_gradient(zero, flat, 1, reference=other)
    total = torch.zeros(())
    for text in TEXTS:
        here, there = zero.logprobs(text), other.logprobs(text).detach()
        chance = zero.probability(text)
        if estimator == "k2":
            total = total + chance * ((here.detach() - there) * here).sum()
        elif estimator == "k3":
            total = total - chance * ((there - here.detach()).exp() * here).sum()
    if estimator == "k1":
        assert np.abs(found).max() < 1e-6
    else:
        close(found, zero.gradient(total))
    p, q = torch.tensor([[0.2, 0.8], [0.5, 0.5]]).log()
    estimates = divergence(p, q, estimator)
    exact = float((p.exp() * (p - q)).sum())
    if estimator != "k2":
        assert float((p.exp() * estimates).sum()) == pytest.approx(exact, rel=1e-5)


def test_a_sampler_that_differs_is_corrected_for():
    """A weight a token corrects for that token's own chance, not for those before: nearer, not the same."""
    sampler = Policy(seed=9)
    sampler.rewards = POLICY.rewards
    options = {"baseline": "none", "importance_sampling_cap": 50.0}
    corrected, _ = expected_gradient(POLICY, made("reinforce", **options), 1, sampler=sampler)
    plain, _ = expected_gradient(
        POLICY, made("reinforce", baseline="none", importance_sampling_cap=None), 1, sampler=sampler
    )
    assert likeness(-corrected, POLICY.exact()) > likeness(-plain, POLICY.exact()) + 0.01
