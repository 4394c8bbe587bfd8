import random

from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.data.deduplicate import duplicates, shingles

WORDS = [f"word{k}" for k in range(500)]


def text(seed: int, length: int = 200) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def test_exact_duplicates_keep_the_first_by_source() -> None:
    found = duplicates(["b", "c", "a"], ["same", "same\n", "same"])
    assert [(d.index, d.of, d.cause) for d in found] == [(0, 2, "exact duplicate"), (1, 2, "exact duplicate")]


def test_near_duplicates_are_found_and_others_left() -> None:
    one, other = text(1), text(2)
    near = one + " and a few words more"
    half = " ".join(one.split()[:100] + other.split()[:100])
    found = duplicates(["1", "2", "3", "4"], [one, near, other, half])
    assert [(d.index, d.of, d.cause) for d in found] == [(1, 0, "near duplicate")]
    own, theirs = shingles(one), shingles(near)
    assert found[0].similarity == len(own & theirs) / len(own | theirs) >= 0.8
    assert duplicates(["1", "2"], [one, near], threshold=None) == []
    assert duplicates(["1", "2"], [one, near], threshold=0.99) == []


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(12)))
def test_the_order_of_rows_does_not_matter(order: list[int]) -> None:
    texts = [text(k) for k in range(6)] + [text(k) + f" end {k}" for k in range(6)]
    sources = [f"{k:02}" for k in range(12)]
    found = duplicates([sources[k] for k in order], [texts[k] for k in order])
    assert {sources[order[d.index]] for d in found} == {f"{k:02}" for k in range(6, 12)}


def test_chinese_has_words_without_spaces() -> None:
    one = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜"
    assert len(shingles(one)) == len(one) - 4
    assert len(duplicates(["1", "2"], [one, one + "金"])) == 1


def test_texts_without_words_are_only_compared_exactly() -> None:
    assert shingles("--- ***") == frozenset()
    assert [d.index for d in duplicates(["1", "2", "3"], ["---", "***", "---"])] == [2]
