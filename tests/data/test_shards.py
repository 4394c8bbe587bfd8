from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.data.shards import Shards, Windows
from penchant.errors import InputError
from penchant.records import Encoded


def document(seed: int, length: int) -> Encoded:
    rng = np.random.default_rng(seed)
    weight = rng.random(length).astype(np.float32)
    return Encoded(rng.integers(0, 99, length), rng.random(length) < 0.3, {"weight": weight})


def same(one: Encoded, other: Encoded) -> bool:
    columns = all(np.array_equal(one.columns[name], other.columns[name]) for name in one.columns)
    return bool(np.array_equal(one.ids, other.ids) and np.array_equal(one.control, other.control) and columns)


def test_documents_come_back_and_are_written_once(tmp_path: Path) -> None:
    documents = [document(k, 3 + 5 * k) for k in range(6)]
    shards = Shards.made(tmp_path / "a", [None, *documents, None])
    assert (len(shards), shards.read, shards.tokens) == (6, 8, sum(len(d.ids) for d in documents))
    assert all(same(a, b) for a, b in zip(shards, documents, strict=True))
    assert same(shards[-1], documents[-1])
    assert len(shards[1:4]) == 3
    with pytest.raises(IndexError):
        shards[6]
    again = Shards.made(tmp_path / "a", iter(()))  # finished: nothing is asked for
    assert len(again) == 6
    assert len(Shards.made(tmp_path / "none", [None])) == 0
    (tmp_path / "half").mkdir()
    with pytest.raises(InputError, match="no such file"):
        Shards(tmp_path / "half")


@given(st.lists(st.integers(0, 40), max_size=6), st.integers(1, 12))
def test_every_token_but_the_first_is_a_label_once(lengths: list[int], context: int) -> None:
    documents = [document(k, length) for k, length in enumerate(lengths)]
    windows = Windows(documents, context)
    found = [w.ids[1:][~w.control[1:]].tolist() for w in windows]
    assert [len(labels) for labels in found] == windows.counts.tolist()
    assert all(0 < len(w.ids) - 1 <= context for w in windows)
    assert [i for labels in found for i in labels] == [int(i) for d in documents for i in d.ids[1:][~d.control[1:]]]
    assert all(len(w.columns["weight"]) == len(w.ids) for w in windows)
