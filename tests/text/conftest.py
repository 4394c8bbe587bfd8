import pytest

from penchant.text.tokenizer import Tokenizer

TEXTS = [
    "def add(a, b):\n    return a + b\n\n\nclass Point:\n    x = 0\n",
    "The quick brown fox jumps over the lazy dog.\n" * 3,
    "天地玄黄，宇宙洪荒。\nnaïve café — “quoted”\n",
]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return TEXTS


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS, 400)
