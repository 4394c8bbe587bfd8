"""Datasets through `datasets.load_dataset`: here folders of files, which need no network; each split a source."""

import json
from pathlib import Path

import pytest

datasets = pytest.importorskip("datasets")

from penchant.contracts import StageContext  # noqa: E402
from penchant.data.examples import raw_rows  # noqa: E402
from penchant.data.files import find  # noqa: E402
from penchant.data.parallel import Processes  # noqa: E402
from penchant.data.read import read  # noqa: E402
from penchant.data.store import read_documents  # noqa: E402
from penchant.errors import InputError  # noqa: E402
from penchant.stages import prepare  # noqa: E402
from penchant.stages._steps import Steps  # noqa: E402


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    made = tmp_path / "reviews"
    made.mkdir()
    for split, count in (("train", 60), ("validation", 8), ("test", 9)):
        rows = [{"text": f"{split} review {k} is kind. It is not long.", "stars": k % 5} for k in range(count)]
        (made / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return made


def test_every_split_is_a_source_and_keeps_its_part(folder: Path, tmp_path: Path) -> None:
    names = [source.name for source in find(f"hf:{folder}").sources]
    assert names == ["reviews/test", "reviews/train", "reviews/validation"]
    one = read(f"hf:{folder}#test", "text", 10**6)
    assert [row.source for row in one.rows[:2]] == ["reviews/test#1", "reviews/test#2"]
    assert one.rows[3].columns == {"stars": 3} and len(one.rows) == 9
    (tmp_path / "out").mkdir()
    context = StageContext("prepare", tmp_path / "out", {}, 0, 1, lambda: 0, lambda text: None)
    options = prepare.Options(path=f"hf:{folder}", signals=["readability"], near_duplicates=None, workers=1)
    found = prepare.run(options, context)
    assert found["documents"] == {"read": 77, "kept": 77, "train": 60, "validation": 8, "test": 9}
    assert all(d.text.startswith("test ") for d in read_documents(tmp_path / "out" / "test.parquet"))


def test_its_size_is_not_known_so_that_all_workers_are_taken(folder: Path) -> None:
    options = prepare.Options(path=f"hf:{folder}", workers=3)
    steps = Steps(options, 0)
    workers = prepare._workers(options, find(f"hf:{folder}"), lambda: steps, steps)
    assert isinstance(workers, Processes) and workers.count == 3


def test_rows_for_tuning_come_from_there_too(folder: Path) -> None:
    rows = list(raw_rows(f"hf:{folder}#validation"))
    assert len(rows) == 8 and rows[0][3]["stars"] == 0


def test_what_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match=r"no split 'tset'.*its splits are") as caught:
        find(f"hf:{folder}#tset")
    assert "test" in str(caught.value)
    with pytest.raises(InputError, match="the dataset cannot be loaded"):
        find(f"hf:{folder.parent / 'nowhere'}")
