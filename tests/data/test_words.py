import re

from hypothesis import given
from hypothesis import strategies as st

from penchant.data.words import hashed_words

CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{CJK}]|[^\W{CJK}]+")
TEXTS = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("ab _天カé\u0301٣𝔘\0"), max_size=30)
)


@given(TEXTS)
def test_words_are_those_of_the_pattern(texts: list[str]) -> None:
    hashes, which = hashed_words(texts)
    words = [(k, word) for k, text in enumerate(texts) for word in WORD.findall(text)]
    assert which.tolist() == [k for k, _ in words]
    assert len({(word, h) for (_, word), h in zip(words, hashes.tolist(), strict=True)}) == len({w for _, w in words})
    assert len(set(hashes.tolist())) == len({word for _, word in words})
