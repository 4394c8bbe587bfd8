"""Several raters' labels: against the published table, independent derivations, simulations and odd input."""

import csv
import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant import registry
from penchant.contracts import Context
from penchant.errors import DataRejected, InputError
from penchant.plugins import plug
from penchant.raters.agreement import alpha, one_against_rest
from penchant.raters.calibrate import isotonic, log_loss, temperature
from penchant.raters.votes import Votes

DATA = os.environ.get("PENCHANT_DATA")
SHORT = {"glad": {"steps": 10}, "mace": {"restarts": 2, "steps": 15}}
METHODS = [name for name in registry.names("raters") if name != "bradley_terry"]


def made(name, **options):
    return plug("raters", {"name": name, **options}, Context(0))


def simulated(seed=0, items=300, skills=(0.95, 0.9, 0.6, 0.55, 0.5), labels="ab"):
    """Votes of raters who are right with the given probability, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, len(labels), items)
    votes = []
    for i, right in enumerate(truth):
        for r, skill in enumerate(skills):
            wrong = rng.choice([k for k in range(len(labels)) if k != right])
            votes.append((str(i), f"r{r}", labels[right if rng.random() < skill else wrong]))
    return Votes.of(votes), truth


def table(name):
    with gzip.open(Path(DATA or "") / "crowd" / name, "rt") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


# Dawid and Skene 1979, tables 2 and 3 (observer 1) and 4 (patients 1 to 6).
PRIOR = [0.40, 0.42, 0.11, 0.07]
OBSERVER_1 = [[0.89, 0.11, 0, 0], [0.07, 0.88, 0.05, 0], [0, 0.34, 0.66, 0], [0, 0, 0.56, 0.44]]
PATIENTS = [0, 3, 1, 1, 1, 1]


@pytest.mark.skipif(DATA is None, reason="PENCHANT_DATA is not set")
def test_the_published_table_of_1979():
    rows = table("dawid_skene_1979_anaesthesia.tsv.gz")
    votes = Votes.of((row["patient"], row["observer"], row["grade"]) for row in rows)
    found = made("dawid_skene", smoothing=0, tolerance=1e-12, steps=5000)(votes)
    np.testing.assert_allclose(found.told["prior"], PRIOR, atol=0.005)
    np.testing.assert_allclose(found.told["confusion"][0], OBSERVER_1, atol=0.005)
    np.testing.assert_allclose(found.probability[:6], np.eye(4)[PATIENTS], atol=0.005)


@pytest.mark.skipif(DATA is None, reason="PENCHANT_DATA is not set")
@pytest.mark.parametrize(
    ("name", "gain"), [("dog", 0.01), ("rte", 0.02), ("tweet_sentiment", 0.02), ("web_relevance", 0.07)]
)
def test_dawid_skene_beats_majority_on_crowds(name, gain):
    truth = {row["item"]: row["label"] for row in table(f"{name}_truth.tsv.gz")}
    votes = Votes.of((row["item"], row["worker"], row["label"]) for row in table(f"{name}_labels.tsv.gz"))
    known = [i for i, item in enumerate(votes.items) if truth.get(item) in votes.labels]
    y = np.array([votes.labels.index(truth[votes.items[i]]) for i in known])

    def accuracy(method):
        p = made(method)(votes).probability[known]
        best = p == p.max(1, keepdims=True)
        return (best / best.sum(1, keepdims=True))[np.arange(len(y)), y].mean()

    assert accuracy("dawid_skene") > accuracy("majority") + gain


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0, 1))
def test_em_never_loses_likelihood_and_is_its_own_equations(seed, smoothing):
    """One more step by loops over the paper's formulas changes nothing at the end, and the likelihood only rises."""
    votes, _ = simulated(seed, items=25, labels="abc")
    several = [
        made("dawid_skene", steps=n, smoothing=0, tolerance=1e-12)(votes).told["log_likelihood"] for n in (1, 3, 9)
    ]
    assert several == sorted(several)
    found = made("dawid_skene", steps=4000, tolerance=1e-13, smoothing=smoothing)(votes)
    truth = found.probability
    counts = np.full((len(votes.raters), 3, 3), smoothing)
    for i, r, label in zip(votes.item, votes.rater, votes.label, strict=True):
        for true in range(3):
            counts[r, true, label] += truth[i, true]
    confusion = counts / counts.sum(2, keepdims=True)
    again = np.tile(truth.mean(0), (len(votes.items), 1))
    for i, r, label in zip(votes.item, votes.rater, votes.label, strict=True):
        for true in range(3):
            again[i, true] *= confusion[r, true, label]
    np.testing.assert_allclose(again / again.sum(1, keepdims=True), truth, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_reliable_raters_are_found(method):
    if method in ("glad", "mace"):
        pytest.importorskip("crowdkit")
    votes, truth = simulated(items=150)
    found = made(method, **SHORT.get(method, {}))(votes)
    np.testing.assert_allclose(found.probability.sum(1), 1)
    right = (found.probability.argmax(1) == truth).mean()
    share = (made("majority")(votes).probability.argmax(1) == truth).mean()
    assert right >= share
    assert right > (0.82 if method == "majority" else 0.9)
    assert found.reliability[:2].min() > found.reliability[2:].max()


def test_dawid_skene_agrees_with_crowd_kit():
    aggregation, pd = pytest.importorskip("crowdkit.aggregation"), pytest.importorskip("pandas")
    votes, _ = simulated(3, items=80, labels="abc")
    other = aggregation.DawidSkene(n_iter=2000, tol=1e-12).fit_predict_proba(
        pd.DataFrame({"task": votes.item, "worker": votes.rater, "label": votes.label})
    )
    found = made("dawid_skene", smoothing=0, tolerance=1e-13, steps=2000)(votes)
    np.testing.assert_allclose(found.probability, other.sort_index()[[0, 1, 2]].to_numpy(), atol=2e-3)


def test_majority_counts_ties_by_parts():
    votes = Votes.of([("1", "x", "a"), ("1", "y", "b"), ("2", "x", "a"), ("2", "y", "a")])
    found = made("majority")(votes)
    np.testing.assert_allclose(found.probability, [[0.5, 0.5], [1, 0]])
    np.testing.assert_allclose(found.reliability, [0.75, 0.75])
    np.testing.assert_allclose(made("majority", smoothing=1)(votes).probability, [[0.5, 0.5], [0.75, 0.25]])


def compared(seed=0, texts=12, ties=True, bad=2):
    """Votes on pairs by raters of whom some say the opposite; and the texts' strengths, in order of appearance."""
    rng = np.random.default_rng(seed)
    strengths = rng.normal(size=texts)
    votes, pairs = [], {}
    for a in range(texts):
        for b in range(a + 1, texts):
            item, flip = f"{a}-{b}", rng.random() < 0.5
            i, j = (b, a) if flip else (a, b)
            pairs[item] = (f"t{i}", f"t{j}")
            for r in range(8):
                weights = np.exp(
                    [strengths[i] / 2 - strengths[j] / 2, strengths[j] / 2 - strengths[i] / 2, -1.0 if ties else -50]
                )
                said = rng.choice(3, p=weights / weights.sum())
                if r < bad and said < 2 and rng.random() < 0.9:
                    said = 1 - said
                votes.append((item, f"r{r}", ("first", "second", "tie")[said]))
    order = [int(text[1:]) for text in dict.fromkeys(text for pair in pairs.values() for text in pair)]
    return Votes.of(votes, ("first", "second", "tie") if ties else ("first", "second"), pairs), strengths[order]


@pytest.mark.parametrize("ties", [True, False])
def test_bradley_terry_finds_strengths_and_those_who_say_the_opposite(ties):
    votes, strengths = compared(ties=ties)
    found = made("bradley_terry")(votes)
    np.testing.assert_allclose(found.probability.sum(1), 1)
    assert np.corrcoef(found.told["scores"], strengths)[0, 1] > 0.9
    assert found.reliability[:2].max() < 0.5 < found.reliability[2:].min()
    trusted = made("bradley_terry", reliability=0.999, reliability_spread=1e-3)(votes)
    own = np.array([strengths[a] > strengths[b] for a, b in votes.pairs])
    right = [((e.probability[:, 0] > e.probability[:, 1]) == own).mean() for e in (found, trusted)]
    assert right[0] >= right[1]


def test_the_maximum_of_bradley_terry_is_one():
    """At the mode the gradient of the posterior, written out in NumPy, is 0 in every strength."""
    votes, _ = compared(1, texts=5, ties=True)
    found = made("bradley_terry", steps=2000)(votes)
    s, nu = found.told["scores"], np.log(found.told["tie"])

    def loss(s):
        total = (s**2).sum() / 2
        for item, rater, label in zip(votes.item, votes.rater, votes.label, strict=True):
            i, j = votes.pairs[item]
            weights = np.exp([(s[i] - s[j]) / 2, (s[j] - s[i]) / 2, nu])
            p, eta = weights / weights.sum(), found.reliability[rater]
            total -= np.log(eta * p[label] + (1 - eta) * p[label if label == 2 else 1 - label])
        return total

    for k in range(5):
        step = np.eye(5)[k] * 1e-4
        assert abs(loss(s + step) - loss(s - step)) / 2e-4 < 1e-2


def test_agreement():
    """Krippendorff's own example (2011, nominal data of four observers, twelve units): alpha 0.743."""
    observers = [
        "1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 .",
    ]  # fmt: skip
    votes = [
        (str(unit), str(observer), value)
        for observer, line in enumerate(observers)
        for unit, value in enumerate(line.split())
        if value != "."
    ]
    pytest.importorskip("krippendorff")
    assert alpha(Votes.of(votes)) == pytest.approx(0.743, abs=0.001)
    assert alpha(Votes.of(votes), "interval") == pytest.approx(0.849, abs=0.001)
    assert alpha(Votes.of(votes), "ordinal") == pytest.approx(0.815, abs=0.001)
    perfect = Votes.of([(i, r, i) for i in "ab" for r in "xyz"])
    assert one_against_rest(perfect) == 1
    assert np.isnan(alpha(Votes.of([("1", "x", "a"), ("2", "x", "b")])))
    assert np.isnan(one_against_rest(Votes.of([("1", "x", "a"), ("2", "x", "b")])))


def test_calibration_lowers_the_loss_of_overconfidence():
    rng = np.random.default_rng(0)
    real = rng.uniform(0.5, 0.95, 4000)
    y = (rng.random(4000) > real).astype(int)
    logits = 3 * np.log(real / (1 - real))  # three times as sure as it may be
    p = 1 / (1 + np.exp(-logits))
    stated = np.stack([p, 1 - p], 1)
    for mend in (temperature(stated[:2000], y[:2000]), isotonic(stated[:2000], y[:2000])):
        mended = mend(stated)
        np.testing.assert_allclose(mended.sum(1), 1)
        assert log_loss(mended[2000:], y[2000:]) < log_loss(stated[2000:], y[2000:]) - 0.05
    mended = temperature(stated, y)(stated)[:, 0]
    np.testing.assert_allclose(np.log(mended / (1 - mended)) / logits, 1 / 3, atol=0.04)  # by far the most of it
    with pytest.raises(DataRejected, match="no item has a known truth"):
        temperature(stated[:0], y[:0])


def test_odd_votes_are_told_or_refused():
    about = Votes.of([("1", "x", "10"), ("1", "y", "9"), ("2", "x", "10")]).about()
    assert list(about["labels"]) == ["9", "10"]  # numbers by size
    assert about["items_with_one_vote"] == 1 and about["raters_with_one_label"] == ["x"]
    with pytest.raises(DataRejected, match="no item has a label"):
        Votes.of([])
    with pytest.raises(DataRejected, match="every rater always gives 'a'"):
        Votes.of([("1", "x", "a"), ("2", "y", "a")])
    with pytest.raises(DataRejected, match="label 'c' is none of a, b"):
        Votes.of([("1", "x", "a"), ("2", "y", "c")], ("a", "b"))
    with pytest.raises(InputError, match="needs pairs of texts"):
        made("bradley_terry")(simulated(items=3)[0])
