"""Cross-entropy to distributions over labels, against sums written out in NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from penchant.contracts import Context
from penchant.objectives.classification import Options, build
from penchant.records import Batch


def batch(targets):
    n = len(targets)
    empty = np.zeros(n, np.int64)
    columns = {f"target_{c}": targets[:, c].astype(np.float32) for c in range(targets.shape[1])}
    return Batch(empty, empty, np.ones(n, np.int64), empty, np.arange(n), np.arange(n), columns)


@given(st.integers(1, 6), st.integers(2, 4), st.integers(0, 1000))
def test_loss_and_accuracy(n, classes, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)) * 3
    targets = rng.dirichlet(np.ones(classes), n)
    logp = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    made = batch(targets)
    objective = build(Options(), Context())
    term = objective.loss({"class_logprobs": torch.tensor(logp, dtype=torch.float32)}, made)["cross_entropy"]
    assert float(term.sum) == pytest.approx(-(targets * logp).sum(), rel=1e-4)
    assert term.weight == n == objective.totals([made])["cross_entropy"]
    assert term.stats["accuracy"] == ((logits.argmax(1) == targets.argmax(1)).sum(), n)


def test_no_text_is_no_loss():
    term = build(Options(), Context()).loss({"class_logprobs": torch.zeros(0, 2)}, batch(np.zeros((0, 2))))
    assert float(term["cross_entropy"].sum) == 0
