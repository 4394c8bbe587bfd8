import math

import numpy as np
import pytest

from penchant.evaluation.perplexity import Window, choose, cut, measure

C = 99  # a control token


def document(labelled, tokens=10, every=3):
    ids = []
    for token in range(tokens):
        if labelled and token % every == 0:
            ids.append(C)
        ids.append(token)
    ids = np.array(ids)
    return ids, ids == C


@pytest.mark.parametrize("size", [2, 3, 4, 7, 9, 10, 50])
def test_windows_hold_the_same_content_with_and_without_control_tokens(size):
    plain, marked = (cut("a", *document(labelled), size) for labelled in (False, True))
    assert [w.content.tolist() for w in plain] == [w.content.tolist() for w in marked]
    assert all(len(w.content) <= size for w in plain)
    kept = [i for w in plain for i in w.content.tolist()]
    assert kept == list(range(9 if 10 % size == 1 else 10))  # a last token alone predicts nothing
    for window in marked:
        assert not window.control[-1]
        assert window.content[0] % 3 != 0 or window.control[0]


def test_a_document_of_one_token_gives_none():
    assert cut("a", np.array([1]), np.array([False]), 8) == []
    assert cut("a", np.zeros(0, int), np.zeros(0, bool), 8) == []


def fake(sequences):
    """Each token's log-prob is minus its own id (a control token's would ruin every sum)."""
    return [-np.array(s[1:], np.float32) for s in sequences]


def test_the_same_tokens_are_counted_either_way():
    windows = cut("a", *document(True), 4)
    sizes = lambda ids: np.ones(len(ids))  # noqa: E731
    plain, marked = (measure(windows, fake, sizes, labelled) for labelled in (False, True))
    for found in (plain, marked):
        assert found["perplexity"].num.tolist() == [1 + 2 + 3, 5 + 6 + 7, 9]
        assert found["perplexity"].den.tolist() == [3, 3, 1]
        assert found["bits_per_byte"].num.sum() == pytest.approx(33 / math.log(2))
        assert found["bits_per_byte"].den.sum() == 7


def test_labelled_shows_the_control_tokens_and_unlabelled_does_not():
    seen = []

    def record(sequences):
        seen.append(sequences)
        return fake(sequences)

    windows = cut("a", *document(True), 4)
    for labelled in (False, True):
        measure(windows, record, lambda ids: np.ones(len(ids)), labelled)
    assert seen[0] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert seen[1] == [[C, 0, 1, 2, C, 3], [4, 5, C, 6, 7], [8, C, 9]]


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary():
    windows = cut("a", *document(False, 100), 16)
    found = measure(
        windows, lambda s: [np.full(len(x) - 1, -math.log(50)) for x in s], lambda i: np.ones(len(i)), False
    )
    ratio = found["perplexity"]
    assert ratio.transform(ratio.num.sum() / ratio.den.sum()) == pytest.approx(50)


def test_choose_takes_enough_in_order_and_is_seeded():
    windows = [Window(str(i), np.arange(10), np.zeros(10, bool)) for i in range(20)]
    found = choose(windows, 55, np.random.default_rng(0))
    assert len(found) == 6
    assert [int(w.source) for w in found] == sorted(int(w.source) for w in found)
    again = choose(windows, 55, np.random.default_rng(0))
    assert [w.source for w in found] == [w.source for w in again]
    assert len(choose(windows, 10**9, np.random.default_rng(0))) == 20
