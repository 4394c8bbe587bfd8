from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.data.split import part_of, position, split
from penchant.errors import DataRejected

NAMES = [f"package/module_{k}.py" for k in range(400)]


@given(st.lists(st.text(), max_size=30))
def test_adding_files_moves_none(added: list[str]) -> None:
    before = dict(zip(NAMES, split(NAMES), strict=True))
    after = dict(zip(NAMES + added, split(NAMES + added), strict=True))
    assert {name: after[name] for name in NAMES} == before


def test_shares_are_about_right() -> None:
    names = [f"{k}" for k in range(20_000)]
    counts = Counter(split(names))
    assert abs(counts["test"] / 20_000 - 0.075) < 0.006
    assert abs(counts["validation"] / 20_000 - 0.045) < 0.005


def test_positions_are_fixed_for_ever() -> None:
    # A change here would move every user's test files into train.
    names = ("argparse.py", "os.py", "天.txt")
    assert [round(position(name), 6) for name in names] == [0.169268, 0.57415, 0.343543]


def test_groups_stay_together() -> None:
    groups = [f"book {k % 7}" for k in range(700)]
    parts = split(groups)
    assert len({(g, p) for g, p in zip(groups, parts, strict=True)}) == 7


@given(st.sets(st.text(), min_size=3, max_size=12), st.sampled_from([(0.88, 0.045, 0.075), (0.1, 0.1, 0.8)]))
def test_no_part_is_empty_from_three_groups_on(groups: set[str], fractions: tuple[float, float, float]) -> None:
    assert set(split(sorted(groups), fractions)) == {"train", "validation", "test"}


def test_too_few_groups() -> None:
    with pytest.raises(DataRejected, match=r"only 2 group.*at least 3 files"):
        split(["a", "b", "b"])


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train/data-00000-of-00002.arrow", "train"),
        ("data/validation-00000-of-00001.parquet", "validation"),
        ("squad.dev.jsonl.gz", "validation"),
        ("test/my-train.csv", "train"),
        ("training/x.jsonl", "train"),
        ("Test.csv", "test"),
        ("train_test.csv", None),
        ("latest.csv", None),
        ("a/b.jsonl", None),
    ],
)
def test_names_of_files_and_folders_say_their_part(name: str, part: str | None) -> None:
    assert part_of(name) == part
