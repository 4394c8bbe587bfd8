from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penchant.data.store import read_documents, write_documents
from penchant.errors import InputError
from penchant.records import Document

SCORES = st.floats(width=32, allow_nan=False, allow_infinity=False)
VALUES = st.none() | st.text(st.characters(exclude_categories=["Cs"]))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), SCORES, VALUES)))
def test_round_trip(tmp_path: Path, rows: list[tuple[str, float, str | None]]) -> None:
    documents = [
        Document(f"f{k}", text, (len(text),), {"s": (score,)}, {"title": value})
        for k, (text, score, value) in enumerate(rows)
    ]
    write_documents(tmp_path / "a.parquet", documents)
    assert read_documents(tmp_path / "a.parquet") == documents


def test_users_columns_keep_their_names(tmp_path: Path) -> None:
    columns = {"text": 1, "source": "web", "ends": "x", "scores.style": 2.5, "columns.a": True, "other": None}
    document = Document("a", "ab", (1, 2), {"style": (0.0, -1.0)}, columns)
    write_documents(tmp_path / "a.parquet", [document])
    assert read_documents(tmp_path / "a.parquet") == [document]


def test_mixed_types_become_text(tmp_path: Path) -> None:
    values = [1, "two", None, 2**70, 1.5, "\ud800"]
    write_documents(tmp_path / "a.parquet", [Document("a", "a", (1,), {}, {"n": v}) for v in values])
    back = [d.columns["n"] for d in read_documents(tmp_path / "a.parquet")]
    assert back == ["1", "two", None, str(2**70), "1.5", "?"]


def test_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    write_documents(path, [Document("a", "old", (3,))])

    def fail(table: object, handle: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.ParquetWriter.write_table", fail)
    with pytest.raises(Exception, match="the disk is full"):
        write_documents(path, [Document("a", "new", (3,))])
    monkeypatch.undo()
    assert read_documents(path)[0].text == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.parquet"]


def test_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_documents(tmp_path / "absent.parquet")
    (tmp_path / "a.parquet").write_bytes(b"no")
    with pytest.raises(InputError, match=r"a\.parquet: not a Parquet file"):
        read_documents(tmp_path / "a.parquet")
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="no column 'source'"):
        read_documents(tmp_path / "b.parquet")
