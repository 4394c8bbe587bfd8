"""Objectives that go by scores: against the paper's equations in NumPy, and what becomes of documents."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant import registry
from penchant.contracts import Context
from penchant.data.pack import next_token_batch
from penchant.errors import InputError
from penchant.records import Batch, Document
from penchant.text.tokenizer import Tokenizer

TEXT = "one two\nthree four\nfive\n"
ENDS = (8, 19, 24)
ROWS = st.lists(st.tuples(st.floats(-30, -1e-3), st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=30)


def made(name, context=None, **options):
    module = registry.load("objectives", name)
    return module.build(module.Options(**options), context or Context())


def batch_of(scores) -> Batch:
    rows = [np.zeros(2, np.int64)] * len(scores)
    return next_token_batch(rows, columns={"score": [np.full(2, score) for score in scores]})


def terms(objective, rows):
    """Sums of the loss in float64, and the totals."""
    logp, values, scores = (np.array(column) for column in zip(*rows, strict=True))
    batch = batch_of(scores)
    given = {"logprobs": torch.tensor(logp), "values": torch.tensor(values)}
    found = objective.loss(given, batch)
    assert objective.totals([batch]) == dict.fromkeys(found, float(len(rows)))
    return {name: float(term.sum) for name, term in found.items()}, logp, values, batch.columns["score"].astype(float)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.floats(-2, 2), st.floats(0, 2))
def test_unlikelihood(rows, threshold, alpha):
    found, logp, _, scores = terms(made("unlikelihood", threshold=threshold, alpha=alpha), rows)
    good = scores >= np.float32(threshold)
    assert found["likelihood"] == pytest.approx(-logp[good].sum(), rel=1e-6, abs=1e-9)
    assert found["unlikelihood"] == pytest.approx(-alpha * np.log1p(-np.exp(logp[~good])).sum(), rel=1e-5, abs=1e-9)


def test_unlikelihood_of_a_sure_token_is_finite():
    objective = made("unlikelihood", threshold=1.0)
    logp = torch.zeros(1, requires_grad=True)
    loss = objective.loss({"logprobs": logp}, batch_of([0.0]))["unlikelihood"].sum
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logp.grad).all()


@settings(max_examples=60, deadline=None)
@given(ROWS, st.floats(0.05, 5), st.floats(0.5, 50))
def test_rwr(rows, beta, most):
    found, logp, _, scores = terms(made("rwr", beta=beta, max_weight=most), rows)
    weights = np.minimum(np.exp(np.minimum(scores / beta, 700)), most)
    assert found["weighted_nll"] == pytest.approx(-(weights * logp).sum(), rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.floats(0.01, 0.99), st.floats(0.1, 5))
def test_awr(rows, alpha, beta):
    found, logp, values, scores = terms(made("awr", alpha=alpha, beta=beta), rows)
    weights = np.minimum(np.exp(np.minimum((scores - values) / beta, 700)), 20.0)
    assert found["weighted_nll"] == pytest.approx(-alpha * (weights * logp).sum(), rel=1e-5)
    assert found["value"] == pytest.approx((1 - alpha) * ((values - scores) ** 2).sum(), rel=1e-5, abs=1e-9)


def test_awr_moves_the_values_by_their_own_error_alone():
    values = torch.tensor([0.5], requires_grad=True)
    found = made("awr").loss({"logprobs": torch.tensor([-1.0]), "values": values}, batch_of([2.0]))
    sum(term.sum for term in found.values()).backward()
    assert float(values.grad) == pytest.approx(0.95 * 2 * (0.5 - 2.0))


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train([TEXT * 5], 280)


def document(scores):
    return Document("a.txt", TEXT, ENDS, {"style": scores})


@pytest.mark.parametrize("name", ["unlikelihood", "rwr", "awr"])
def test_each_token_carries_its_segments_score(tokenizer, name):
    found = made(name, Context(tokenizer=tokenizer)).transform(document((0.0, -2.0, 1.0)), 0, False)
    for segment, score in zip(document(()).segments(), (0.0, -2.0, 1.0), strict=True):
        inside = found.columns["score"] == score
        assert tokenizer.decode(found.ids[inside].tolist()) == segment
    with pytest.raises(InputError, match="no scores of signal 'style'"):
        made(name, Context(tokenizer=tokenizer)).transform(Document("b", TEXT, ENDS), 0, False)


def test_filtering_leaves_out_documents_by_their_mean(tokenizer):
    data = {"signals": {"style": {"quantiles": {}, "document_quantiles": {"0.5": -1.0}}}}
    objective = made("filtering", Context(tokenizer=tokenizer, data=data))
    assert objective.transform(document((-3.0, -0.5, 0.0)), 0, False) is None
    assert objective.transform(document((-3.0, -0.5, 0.0)), 0, True) is not None
    kept = objective.transform(document((-3.0, 0.0, 0.0)), 0, False)
    assert tokenizer.decode(kept.ids.tolist()) == TEXT
    with pytest.raises(InputError, match="neither a number nor a quantile"):
        made("filtering", Context(tokenizer=tokenizer, data=data), least="q0.9")


def test_soft_labels_are_drawn_with_their_probability():
    """Over many documents the share of good tokens is the probability; held-out text goes by the threshold."""
    tokenizer = Tokenizer.train(["abc abd"], 270)
    documents = [Document(str(i), "ab\ncd\n", (3, 6), {"p": (0.8, 0.1)}) for i in range(2000)]
    options = {"signal": "p", "threshold": 0.5, "drop": 0.0, "soft": True}
    objective = made("conditional", Context(0, tokenizer), **options)
    good = tokenizer.control_ids["good"]
    first = [objective.transform(d, n, False) for n, d in enumerate(documents)]
    said = np.array([[i == good for i in e.ids[e.control]] for e in first])
    np.testing.assert_allclose(said.mean(0), [0.8, 0.1], atol=0.03)
    again = objective.transform(documents[7], 7, False)
    np.testing.assert_array_equal(again.ids, first[7].ids)
    held = objective.transform(documents[0], 0, True)
    assert [i == good for i in held.ids[held.control]] == [True, False]
    with pytest.raises(InputError, match=r"soft needs probabilities, and signal p gave -1 to 0.5"):
        objective.transform(Document("x", "ab\ncd\n", (3, 6), {"p": (-1.0, 0.5)}), 0, False)
