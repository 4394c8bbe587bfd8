import random
from collections.abc import Iterator, Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from penchant.data.deduplicate import (
    PERMUTATIONS,
    Duplicate,
    candidates,
    digest,
    repeats,
    resolve,
    shingles,
    similarities,
    sketches,
)

WORDS = [f"word{k}" for k in range(500)]


def text(seed: int, length: int = 200) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def duplicates(texts: Sequence[str], threshold: float | None = 0.8) -> list[Duplicate]:
    own = sketches(texts)
    table = np.stack([np.frombuffer(one or bytes(4 * PERMUTATIONS), np.uint32) for one in own])

    def compared(pairs: np.ndarray) -> Iterator[tuple[int, int, float]]:
        return ((i, j, s) for (i, j), s in zip(pairs.tolist(), similarities(texts, pairs), strict=True))

    digests = np.array([digest(text) for text in texts], "S16")
    worded = np.array([one is not None for one in own])
    return list(repeats(digests, worded, lambda ids, part: table[ids][:, part], compared, threshold))


def test_exact_duplicates_keep_the_first() -> None:
    found = duplicates(["same", "same\n", "other", "same"])
    assert [(d.index, d.of, d.cause) for d in found] == [(1, 0, "exact duplicate"), (3, 0, "exact duplicate")]


def test_near_duplicates_are_found_and_others_left() -> None:
    one, other = text(1), text(2)
    near = one + " and a few words more"
    half = " ".join(one.split()[:100] + other.split()[:100])
    found = duplicates([one, near, other, half])
    assert [(d.index, d.of, d.cause) for d in found] == [(1, 0, "near duplicate")]
    own, theirs = by_hand(one), by_hand(near)
    assert found[0].similarity == len(own & theirs) / len(own | theirs) >= 0.8
    assert duplicates([one, near], threshold=None) == []
    assert duplicates([one, near], threshold=0.99) == []


def by_hand(text: str) -> set[str]:
    words = text.split()
    return {" ".join(words[k : k + 5]) for k in range(max(1, len(words) - 4))}


@given(st.lists(st.lists(st.sampled_from("abcde"), max_size=12), max_size=4))
def test_shingles_count_as_runs_of_words_do(rows: list[list[str]]) -> None:
    found = shingles([" ".join(words) for words in rows])
    assert [len(one) for one in found] == [len(by_hand(" ".join(words))) if words else 0 for words in rows]
    assert all((np.diff(one.astype(object)) > 0).all() for one in found)


@given(st.lists(st.integers(0, 3), max_size=60))
def test_a_bucket_pairs_each_with_the_first_and_the_nearest_before_it(keys: list[int]) -> None:
    sketched = np.repeat(np.array(keys, np.uint32).reshape(-1, 1), 128, axis=1)
    ids = np.arange(len(keys)) * 3
    found = {tuple(pair) for pair in candidates(lambda part: sketched[:, part], ids).tolist()}
    wanted = set()
    for later, key in enumerate(keys):
        before = [k for k in range(later) if keys[k] == key]
        wanted |= {(3 * k, 3 * later) for k in (*before[:8], *before[-8:])}
    assert found == wanted


def test_a_duplicate_of_a_duplicate_is_measured_against_what_stays() -> None:
    pairs = [(0, 1, 0.9), (1, 2, 0.95), (0, 2, 0.7), (0, 3, 0.8), (2, 3, 0.85)]
    found = [(one.index, one.of) for one in resolve(pairs, 0.8, 4)]
    assert found == [(1, 0), (3, 2)]  # 2 is near 1, which is gone; 3 is nearer to 2 than to 0


def test_each_repeat_names_what_it_repeats() -> None:
    texts = [text(k) for k in range(6)] + [text(k) + f" end {k}" for k in range(6)]
    assert [(d.index, d.of) for d in duplicates(texts)] == [(k + 6, k) for k in range(6)]
    assert [(d.index, d.of) for d in duplicates(texts[::-1])] == [(k + 6, k) for k in range(6)]


def test_chinese_has_words_without_spaces() -> None:
    one = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜"
    assert len(shingles([one])[0]) == len(one) - 4
    assert len(duplicates([one, one + "金"])) == 1


def test_texts_without_words_are_only_compared_exactly() -> None:
    assert not len(shingles(["--- ***"])[0])
    assert [d.index for d in duplicates(["---", "***", "---"])] == [2]
