"""Windows for perplexity: the same text for every tokenizer and way of asking, and never more tokens than the limit."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.evaluation.perplexity import choose, cut, encode, held_out, measure
from penchant.records import Document
from penchant.text.segment import segment_ends
from penchant.text.tokenizer import Tokenizer

TEXT = "It was a bright cold day in April.\nThe clocks were striking thirteen!\n\n天地玄黄，宇宙洪荒。 Ünïcöd\n"
FINE, COARSE = Tokenizer.train([TEXT], 262), Tokenizer.train([TEXT * 5], 420)


def document(text, unit="line"):
    return Document("a.txt", text, segment_ends(text, unit))


def labels(document):
    return ["good" if i % 2 else "bad" for i in range(len(document.ends))]


texts = st.lists(st.sampled_from([*TEXT.split(" "), "\n", "  ", "x" * 40, "\n\n\t", "  " * 30, "🙂"]), max_size=60)


@settings(max_examples=60, deadline=None)
@given(texts, st.sampled_from(["line", "sentence", "document"]), st.integers(16, 60))
def test_windows_fit_and_score_the_same_text_whatever_is_asked(words, unit, size):
    text = " ".join(words)
    d = document(text, unit)
    spans, left_out = cut(d, [FINE, COARSE], True, size)
    places = [place for span in spans for place in (span.start, span.end)]
    assert places == sorted(places)
    assert sum(span.end - span.start for span in spans) + left_out == len(text)
    assert all(span.start < span.scored < span.end for span in spans)
    for tokenizer in (FINE, COARSE):
        windows = encode(d, spans, tokenizer, labels(d) if text else None)
        plain = encode(d, spans, tokenizer, None)
        for span, window, other in zip(spans, windows, plain, strict=True):
            assert tokenizer.decode(window.ids[window.scored].tolist()) == text[span.scored : span.end]
            assert window.bytes == len(text[span.scored : span.end].encode()) == other.bytes
            assert (window.ids[~window.control] == other.ids).all()
            assert (window.scored[~window.control] == other.scored).all()
            assert not window.scored[window.control].any()
            assert not other.scored[0]
            begins = {0, *d.ends[:-1]}
            assert window.control.sum() == sum(span.start <= place < span.end for place in begins)


@pytest.mark.parametrize("size", [16, 24, 64])
@pytest.mark.parametrize("unit", ["line", "sentence", "document"])
def test_no_window_has_more_tokens_than_the_limit_control_tokens_included(size, unit):
    d = document(TEXT * 9 + "One. Two. Three is it. Four! " * 9, unit)
    tokenizers = {"fine": FINE, "coarse": COARSE}
    found, facts = held_out([d], tokenizers, dict.fromkeys(tokenizers, labels), size, 10**6, np.random.default_rng(0))
    assert facts["window"] == size
    assert facts["windows"] == len(found["fine"]) == len(found["coarse"]) > 3
    assert facts.get("windows_left_out", 0) == 0
    assert all(len(w.ids) <= size for windows in found.values() for w in windows)
    assert [w.bytes for w in found["fine"]] == [w.bytes for w in found["coarse"]]
    lengths = [len(w.ids) for w in found["fine"]]
    assert np.mean(lengths) > 0.6 * size  # what the limit allows is used


def test_a_control_token_stands_where_its_segment_begins():
    text = "one two\nthree four five six\nseven\n"
    d = document(text)
    tokenizer = Tokenizer.train([text], 300)
    good, bad = tokenizer.control_ids["good"], tokenizer.control_ids["bad"]
    spans, _ = cut(d, [tokenizer], True, 9)
    windows = encode(d, spans, tokenizer, labels(d))
    seen = [
        "".join("<G>" if i == good else "<B>" if i == bad else tokenizer.decode([i]) for i in w.ids) for w in windows
    ]
    assert "".join(seen).replace("<G>", "").replace("<B>", "") == text
    assert "".join(seen) == "<B>one two\n<G>three four five six\n<B>seven\n"
    assert len(windows) > 1


def test_documents_of_one_piece_or_none_give_none():
    assert cut(document(""), [FINE], False, 16) == ([], 0)
    assert cut(document("abc"), [FINE], False, 16) == ([], 3)
    nothing = held_out([document("abc")], {"a": FINE}, {}, 16, 100, np.random.default_rng(0))
    assert nothing == ({"a": []}, {"window": 16, "windows": 0, "characters_left_out": 3})


def test_a_tokenizer_without_control_tokens_is_shown_none():
    bare = Tokenizer.train([TEXT], 262, control=())
    found, _ = held_out(
        [document(TEXT)], {"fine": FINE, "bare": bare}, {"fine": labels}, 40, 1000, np.random.default_rng(0)
    )
    assert any(w.control.any() for w in found["fine"])
    assert not any(w.control.any() for w in found["bare"])


def fake(sequences):
    """Each token's log-prob is minus its own id (a control token's would ruin every sum)."""
    return [-np.array(s[1:], np.float32) for s in sequences]


def test_the_same_tokens_are_counted_either_way():
    windows = held_out([document(TEXT * 3)], {"a": FINE}, {"a": labels}, 40, 10**6, np.random.default_rng(0))[0]["a"]
    plain, marked = (measure(windows, fake, labelled) for labelled in (False, True))
    for name in ("perplexity", "bits_per_byte"):
        assert plain[name].num.tolist() == marked[name].num.tolist()
        assert plain[name].den.tolist() == marked[name].den.tolist()
    assert plain["perplexity"].num.tolist() == [float(w.ids[w.scored].sum()) for w in windows]
    assert plain["bits_per_byte"].den.sum() == sum(w.bytes for w in windows)
    assert plain["bits_per_byte"].num.sum() == pytest.approx(plain["perplexity"].num.sum() / math.log(2))


def test_labelled_shows_the_control_tokens_and_unlabelled_does_not():
    seen = []

    def record(sequences):
        seen.append(sequences)
        return fake(sequences)

    windows = held_out([document(TEXT * 3)], {"a": FINE}, {"a": labels}, 40, 10**6, np.random.default_rng(0))[0]["a"]
    for labelled in (False, True):
        measure(windows, record, labelled)
    control = set(FINE.control_ids.values())
    assert not any(control & set(ids) for ids in seen[0])
    assert seen[1] == [w.ids.tolist() for w in windows]
    assert [[i for i in ids if i not in control] for ids in seen[1]] == seen[0]


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary():
    windows = held_out([document(TEXT * 3)], {"a": FINE}, {}, 40, 10**6, np.random.default_rng(0))[0]["a"]
    found = measure(windows, lambda s: [np.full(len(x) - 1, -math.log(50)) for x in s], False)
    ratio = found["perplexity"]
    assert ratio.transform(ratio.num.sum() / ratio.den.sum()) == pytest.approx(50)


def test_choose_takes_enough_in_order_and_is_seeded():
    found = choose([10] * 20, 55, np.random.default_rng(0))
    assert len(found) == 6
    assert found == sorted(found)
    assert found == choose([10] * 20, 55, np.random.default_rng(0))
    assert choose([10] * 20, 10**9, np.random.default_rng(0)) == list(range(20))
