"""Noise: whole words, its shares, spans that come back together, and the same for the same number."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.batches.noise import MASK, SENTINELS, Denoise, Mask, sentinel, spans, words_at
from penchant.records import Encoded
from penchant.text.tokenizer import Tokenizer

TEXT = "wonderful mornings begin without any hurry\nand everybody remembers yesterday\n"


@pytest.fixture(scope="module")
def tokenizer():
    base = Tokenizer.train([TEXT * 3], 300)
    return base.with_control((MASK, *(sentinel(n) for n in range(SENTINELS))))


def window(tokenizer, control=True, scores=False):
    ids = np.array([tokenizer.eos_id, tokenizer.control_ids["good"], *tokenizer.encode(TEXT)])
    columns = {"score": np.arange(len(ids), dtype=np.float32)} if scores else {}
    return Encoded(ids, np.arange(len(ids)) == 1, columns)


def test_words_are_masked_whole(tokenizer):
    """All tokens of a word share their fate of being asked for; control and end tokens are never hidden."""
    noise, one = Mask(tokenizer, 0), window(tokenizer)
    begins = words_at(noise.edges, one.ids)
    begins[:3] = True  # the end, the control token and the first word are no one word
    word = np.cumsum(begins)
    parts = {w: tokenizer.decode(one.ids[word == w].tolist()) for w in np.unique(word[2:])}
    assert [text.strip() for text in parts.values() if text.strip()] == TEXT.split()
    for number in range(30):
        batch = noise([one], [number])
        hidden = np.zeros(len(one.ids), bool)
        hidden[batch.at] = True
        assert not hidden[:2].any() and hidden.any()
        for w in np.unique(word[2:]):
            assert hidden[word == w].all() or not hidden[(word == w)].any()
        np.testing.assert_array_equal(batch.labels, one.ids[hidden])
        np.testing.assert_array_equal(batch.inputs[~hidden], one.ids[~hidden])


def test_shares_of_masks_swaps_and_what_is_left(tokenizer):
    noise, one = Mask(tokenizer, 1), window(tokenizer)
    asked, masked, kept = 0, 0, 0
    free = len(one.ids) - 2
    for number in range(600):
        batch = noise([one], [number])
        seen = batch.inputs[batch.at]
        asked += len(seen)
        masked += int((seen == tokenizer.control_ids[MASK]).sum())
        kept += int((seen == batch.labels).sum())
    assert 0.14 < asked / (600 * free) < 0.35  # whole words go over the 15 %
    assert masked / asked == pytest.approx(0.8, abs=0.02)
    assert kept / asked == pytest.approx(0.1, abs=0.02)


def test_the_same_number_draws_the_same_and_scores_go_with_their_tokens(tokenizer):
    for noise in (Mask(tokenizer, 2), Denoise(tokenizer, 2, 0), Denoise(tokenizer, 2, 0, restore=True)):
        one = window(tokenizer, scores=True)
        both = [noise([one, one], [5, 6]) for _ in range(2)]
        np.testing.assert_array_equal(both[0].inputs, both[1].inputs)
        alone = noise([one], [6])
        np.testing.assert_array_equal(alone.labels, both[0].labels[both[0].unit == 1])
        assert not np.array_equal(noise([one], [7]).inputs, alone.inputs)
        for label, score in zip(alone.labels, alone.columns["score"], strict=True):
            known = tokenizer.control_ids.values()
            assert label in known or label == tokenizer.eos_id or one.ids[int(score)] == label


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 200), st.floats(0.05, 0.6), st.floats(1, 6), st.integers(0, 99))
def test_spans(length, share, mean, seed):
    """As many tokens as asked for, in as many runs as their mean length says."""
    lost = spans(length, share, mean, np.random.default_rng(seed))
    assert len(lost) == length
    if length > 1:
        assert lost.sum() == min(max(1, round(length * share)), length - 1)
        runs = (lost & ~np.concatenate([[False], lost[:-1]])).sum()
        assert runs == max(1, min(round(lost.sum() / mean), lost.sum(), length - lost.sum()))
        assert not lost[0]


def sides(batch):
    source, target = batch.inputs[batch.role == 0].tolist(), batch.labels.tolist()
    return source, target


def test_t5_source_and_target_together_are_the_text(tokenizer):
    """Each sentinel of the source is put back by what the target says after it."""
    noise, one = Denoise(tokenizer, 3, start=9), window(tokenizer)
    signs = {tokenizer.control_ids[sentinel(n)] for n in range(SENTINELS)}
    for number in range(40):
        batch = noise([one], [number])
        source, target = sides(batch)
        assert batch.inputs[batch.role == 1][0] == 9 and source[-1] == target[-1] == tokenizer.eos_id
        said, current = {}, None
        for token in target[:-1]:
            if token in signs:
                current = token
                said[current] = []
            else:
                said[current].append(token)
        whole = [i for token in source[:-1] for i in (said[token] if token in signs else [token])]
        assert whole == one.ids.tolist()
        assert [t for t in source if t in signs] == sorted(said, key=lambda t: t) == list(said)


def test_bart_restores_the_whole_text(tokenizer):
    noise, one = Denoise(tokenizer, 4, start=9, restore=True, share=0.3), window(tokenizer)
    source, target = sides(noise([one], [0]))
    assert target == [*one.ids[2:].tolist(), tokenizer.eos_id]
    mask = tokenizer.control_ids[MASK]
    assert mask in source and len(source) < len(one.ids)
    assert [i for i in source if i != mask][:2] == one.ids[:2].tolist()  # the end and the control token stay
