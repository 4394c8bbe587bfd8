import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.errors import InputError
from penchant.records import Document
from penchant.text.control import Bins, encode_document, resolve_threshold
from penchant.text.segment import segment_ends
from penchant.text.tokenizer import Tokenizer

TEXT = "x = 1\ny=2\n\nz = 3"
DOCUMENT = Document("a.py", TEXT, segment_ends(TEXT, "line"), {"style": (0.0, -1.0, 0.0, -2.0)})
SUMMARY = {"signals": {"style": {"quantiles": {"0.05": -3.0, "0.5": -1.0, "0.75": 0.0}}}}


def test_labels_by_threshold() -> None:
    assert Bins.two("style", 0).of(DOCUMENT) == ["good", "bad", "good", "bad"]
    assert Bins.two("style", -1).of(DOCUMENT) == ["good", "good", "good", "bad"]
    with pytest.raises(InputError, match=r"a\.py: no scores of signal 'taste'; there are style"):
        Bins.two("taste", 0).of(DOCUMENT)


def test_control_tokens_stand_before_segments(tokenizer: Tokenizer) -> None:
    plain, none = encode_document(DOCUMENT, tokenizer)
    ids, control = encode_document(DOCUMENT, tokenizer, Bins.two("style", 0).of(DOCUMENT))
    assert plain.dtype == ids.dtype == np.int32
    assert control.dtype == none.dtype == bool
    assert not none.any()
    assert ids[~control].tolist() == plain.tolist() == tokenizer.encode(TEXT)
    good, bad = tokenizer.control_ids["good"], tokenizer.control_ids["bad"]
    assert ids[control].tolist() == [good, bad, good, bad]
    assert control[0]
    # Each of the others follows the newline that ends the segment before.
    assert all(ids[i - 1] == tokenizer.newline_id for i in np.flatnonzero(control)[1:])


def test_encoding_edges(tokenizer: Tokenizer) -> None:
    ids, control = encode_document(Document("e", ""), tokenizer, [])
    assert ids.shape == control.shape == (0,)
    with pytest.raises(ValueError, match="1 labels for 4 segments"):
        encode_document(DOCUMENT, tokenizer, ["good"])
    with pytest.raises(KeyError):
        encode_document(DOCUMENT, tokenizer, ["good", "bad", "good", "ugly"])


@pytest.mark.parametrize(
    ("threshold", "expected"), [(0.25, 0.25), (3, 3.0), ("median", -1.0), ("q0.75", 0.0), ("q.05", -3.0), ("-2", -2.0)]
)
def test_thresholds(threshold: float | str, expected: float) -> None:
    assert resolve_threshold(threshold, SUMMARY, "style") == expected


@pytest.mark.parametrize("threshold", ["q0.33", "mean", "q", ""])
def test_unknown_thresholds_name_the_known(threshold: str) -> None:
    with pytest.raises(InputError, match=r"median.*q0\.05, q0\.5"):
        resolve_threshold(threshold, SUMMARY, "style")


def test_threshold_of_an_unknown_signal() -> None:
    with pytest.raises(InputError, match="there are style"):
        resolve_threshold(0, SUMMARY, "taste")


@given(
    st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=1, max_size=20),
    st.lists(st.lists(st.integers(-5, 5), min_size=1, max_size=3, unique=True), min_size=1, max_size=2),
)
def test_bins_count_the_thresholds_that_a_score_reaches(scores, edges):
    edges = [sorted(own) for own in edges]
    signals = ("a", "b")[: len(edges)]
    document = Document("d", "x" * len(scores), tuple(range(1, len(scores) + 1)),
                        {name: tuple(s[k] for s in scores) for k, name in enumerate(signals)})  # fmt: skip
    bins = Bins(signals, tuple(tuple(map(float, own)) for own in edges))
    said = bins.of(document)
    assert set(said) <= set(bins.names)
    assert len(set(bins.names)) == len(bins.names) == int(np.prod([len(own) + 1 for own in edges]))
    for row, name in zip(scores, said, strict=True):
        for part, score, own in zip(name.split(","), row, edges, strict=False):
            level = part.rpartition(":")[2]
            reached = sum(score >= edge for edge in own)
            assert (level == "good") == (reached == len(own))
            assert (level == "bad") == (reached == 0)
    assert bins.names[0].count("good") == len(edges)  # the wanted one first
