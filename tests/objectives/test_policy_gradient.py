"""The policy-gradient objective: against NumPy, against exact enumeration, and for any cut into micro-batches."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.contracts import Context
from penchant.data.pack import next_token_batch
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.quantities import sequence_logprobs
from penchant.objectives import mle, policy_gradient
from penchant.objectives.kl import k3
from penchant.objectives.policy_gradient import clipped_surrogate
from penchant.training.loop import gradient_step

FINITE = st.floats(-20, 20)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(FINITE, FINITE, FINITE, FINITE), min_size=1, max_size=20), st.floats(0.01, 0.5))
def test_losses_against_numpy(rows, epsilon):
    new, old, reference, advantage = (np.array(column) for column in zip(*rows, strict=True))
    ratio = np.exp(new - old)
    expected = np.minimum(ratio * advantage, np.clip(ratio, 1 - epsilon, 1 + epsilon) * advantage)
    found = clipped_surrogate(torch.exp(torch.tensor(new - old)), torch.tensor(advantage), epsilon, epsilon)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)
    divergence = k3(torch.tensor(new), torch.tensor(reference)).numpy()
    np.testing.assert_allclose(divergence, np.exp(reference - new) - 1 - (reference - new), rtol=1e-6, atol=1e-9)
    assert (divergence >= 0).all()


VOCABULARY, DEPTH, END = 4, 3, 0


def small_policy() -> Decoder:
    config = DecoderConfig(vocab_size=VOCABULARY + 1, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                           num_attention_heads=2, num_key_value_heads=2, initializer_range=0.4)  # fmt: skip
    return Decoder(config).initialise(3)


def trajectories() -> list[tuple[int, ...]]:
    """All texts of at most DEPTH tokens of which END is the last: the whole text MDP."""
    found = []
    for length in range(1, DEPTH + 1):
        for ids in itertools.product(range(VOCABULARY), repeat=length):
            if END not in ids[:-1] and (ids[-1] == END or length == DEPTH):
                found.append(ids)
    return found


def exact(model: Decoder, rewards: dict) -> torch.Tensor:
    """E[R] by summing over all trajectories, with gradient. Token 4 is the prompt and is banned."""
    total = torch.zeros(())
    for ids, reward in rewards.items():
        inputs = torch.tensor([VOCABULARY, *ids[:-1]])
        logits = model(inputs, torch.arange(len(ids)), torch.tensor([len(ids)])) @ model.head.T
        logits = logits[:, :VOCABULARY]
        total = total + torch.log_softmax(logits, -1)[range(len(ids)), list(ids)].sum().exp() * reward
    return total


def test_the_expected_gradient_is_that_of_the_expected_reward():
    """Summed over all trajectories with their probability, the estimator's gradient is the exact one."""
    model = small_policy()
    rng = np.random.default_rng(0)
    rewards = {ids: float(rng.normal()) for ids in trajectories()}
    exact(model, rewards).backward()
    expected = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    probability = {}
    for ids in rewards:
        inputs = torch.tensor([VOCABULARY, *ids[:-1]])
        with torch.no_grad():
            logits = (model(inputs, torch.arange(len(ids)), torch.tensor([len(ids)])) @ model.head.T)[:, :VOCABULARY]
            probability[ids] = float(torch.log_softmax(logits, -1)[range(len(ids)), list(ids)].sum().exp())
    assert sum(probability.values()) == pytest.approx(1.0, abs=1e-5)
    sequences = [np.array([VOCABULARY, *ids]) for ids in rewards]
    baseline = 0.7  # any baseline leaves the expectation as it is
    gain = [
        np.full(len(s), (rewards[ids] - baseline) * probability[ids]) for s, ids in zip(sequences, rewards, strict=True)
    ]
    zero = [np.zeros(len(s)) for s in sequences]
    batch = next_token_batch(sequences, None, {"advantages": gain, "rollout_logprobs": zero}, banned=(VOCABULARY,))
    objective = policy_gradient.build(policy_gradient.Options(beta=0.0, importance_sampling_cap=None), Context())
    gradient_step(model, objective, [batch])
    count = objective.totals([batch])["policy"]
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(-parameter.grad * count, expected[name], rtol=1e-3, atol=1e-5)


def batch_of(sequences, advantages, columns=True):
    gain = [np.full(len(s), a) for s, a in zip(sequences, advantages, strict=True)]
    some = [np.linspace(-3, -1, len(s)) for s in sequences]
    keep = [np.arange(len(s)) > 2 for s in sequences]
    return next_token_batch(sequences, keep, {"advantages": gain, "rollout_logprobs": some, "reference_logprobs": some})


@pytest.mark.parametrize("name", ["policy_gradient", "mle"])
def test_the_gradient_does_not_depend_on_the_cut(name):
    rng = np.random.default_rng(1)
    sequences = [rng.integers(0, 5, n) for n in (5, 9, 4, 12, 7, 6)]
    advantages = rng.normal(size=6)
    if name == "mle":
        objective = mle.build(mle.Options(), Context())
    else:
        objective = policy_gradient.build(policy_gradient.Options(beta=0.3), Context())
    found = []
    for cut in (6, 1, 4):
        model = small_policy()
        batches = [batch_of(sequences[a : a + cut], advantages[a : a + cut]) for a in range(0, 6, cut)]
        row = gradient_step(model, objective, batches)
        found.append((row["loss"], torch.cat([p.grad.flatten() for p in model.parameters()])))
    for loss, gradient in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        assert (gradient - found[0][1]).norm() <= 1e-5 * found[0][1].norm()


def test_the_kl_term_is_weighed_and_divided_once():
    model = small_policy()
    sequences = [np.array([4, 1, 2, 3, 1]), np.array([4, 2, 2, 0])]
    batch = batch_of(sequences, [1.0, -1.0])
    row = gradient_step(
        model,
        policy_gradient.build(policy_gradient.Options(beta=0.5, importance_sampling_cap=None), Context()),
        [batch],
    )
    logprobs = np.concatenate([sequence_logprobs(model, [s])[0][2:] for s in sequences])
    gap = batch.columns["reference_logprobs"] - logprobs
    expected = np.mean(np.exp(gap) - 1 - gap)
    assert row["kl"] == pytest.approx(expected, rel=1e-4)
    assert row["loss/kl"] == pytest.approx(0.5 * expected, rel=1e-4)
    assert row["loss/policy"] == pytest.approx(-np.mean(batch.columns["advantages"]), rel=1e-4)
