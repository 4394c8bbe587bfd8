"""Bad files and rows: each is one reject with its cause, and too many of them one clear line."""

import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penchant.data.read import BAD_CAUSES, Reading, check_rejects, read
from penchant.errors import DataRejected, InputError

GOOD = b'{"text": "a good row"}\n'


def check(reading: Reading, rate: float) -> None:
    check_rejects(reading.rejects[:1], reading.causes, reading.count, rate)


def rejects(path: Path, **options: object) -> list[tuple[str, int | None, str]]:
    found = read(str(path), **options).rejects  # type: ignore[arg-type]
    assert all(reject.cause in BAD_CAUSES for reject in found)
    return [(reject.source, reject.row, reject.cause) for reject in found]


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (b'{"text": "cut', "broken JSON"),
        (b"[1, 2]", "broken JSON"),
        (b"[" * 60_000, "broken JSON"),
        (b'{"text": ' + b"9" * 5000 + b"}", "broken JSON"),
        (b'{"text": 3}', "not text"),
        (b'{"text": ["a"]}', "not text"),
        (b'{"body": "a"}', "missing column"),
        (b'{"text": "a\0b"}', "binary"),
        (b'{"text": "\x81\x8d"}', "undecodable"),
        (b'{"text": "' + b"x" * 3000 + b'"}', "too big"),
        (b'{"text": "' + b"x" * 300_000 + b'"}', "too big"),
    ],
)
def test_bad_json_lines(tmp_path: Path, line: bytes, cause: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD + line + b"\n" + GOOD)
    assert rejects(path, max_document_bytes=2000) == [("a.jsonl#2", 2, cause)]
    reading = read(str(path), max_document_bytes=2000)
    assert [row.row for row in reading.rows] == [1, 3]
    assert reading.count == 3


def test_bad_csv_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,text\n1,good\n2\n3,"a"b\n4,' + "x" * 3000 + "\n5,good\n")
    assert rejects(path, max_document_bytes=2000) == [
        ("a.csv#2", 2, "broken row"),
        ("a.csv#3", 3, "broken row"),
        ("a.csv#4", 4, "too big"),
    ]


def test_bad_files(tmp_path: Path) -> None:
    (tmp_path / "binary.txt").write_bytes(b"ab\0cd")
    (tmp_path / "control.txt").write_bytes(bytes(range(1, 120)) + b"\xe9" * 9)
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(GOOD * 1000)[:-20])
    (tmp_path / "nogzip.txt.gz").write_bytes(b"plain")
    (tmp_path / "no.parquet").write_bytes(b"PAR1 not really")
    (tmp_path / "no.arrow").write_bytes(b"not arrow at all")
    (tmp_path / "odd.txt").write_bytes(b"\x81\x8d\x8f")
    (tmp_path / "dangling.txt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "big.txt").write_bytes(b"x" * 5001)
    (tmp_path / "bomb.txt.gz").write_bytes(gzip.compress(b"x" * 3_000_000))
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "good.txt").write_text("good")
    found = rejects(tmp_path, max_document_bytes=5000)
    assert {source: cause for source, _, cause in found} == {
        "binary.txt": "binary",
        "control.txt": "binary",
        "cut.jsonl.gz": "unreadable",
        "nogzip.txt.gz": "unreadable",
        "no.parquet": "unreadable",
        "no.arrow": "unreadable",
        "odd.txt": "undecodable",
        "dangling.txt": "unreadable",
        "big.txt": "too big",
        "bomb.txt.gz": "too big",
    }


def test_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret.txt").write_text("a")

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("penchant.data.read.open", refuse, raising=False)
    reading = read(str(tmp_path))
    with pytest.raises(DataRejected, match=r"secret\.txt: unreadable \(Permission denied\)") as raised:
        check(reading, 0.01)
    assert raised.value.exit_code == 4


def test_parquet_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["ok", None, "x" * 100]}), path)
    assert rejects(path, max_document_bytes=50) == [("a.parquet#3", 3, "too big")]
    assert [row.text for row in read(str(path)).rows][:2] == ["ok", ""]  # null is an empty row
    pq.write_table(pa.table({"text": [1, 2]}), path)
    assert [cause for _, _, cause in rejects(path)] == ["not text"] * 2


def test_column_that_no_row_has(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"body": "x", "id": 1}\n' * 3)
    with pytest.raises(InputError) as raised:
        read(str(path))
    assert str(raised.value) == (
        f"{path}, row 1: no row has the column (no 'text'; the columns are body, id);"
        " name the column that holds the text with data.text_column=NAME"
    )


def test_few_bad_rows_are_allowed_and_many_are_not(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD * 199 + b"{broken\n")
    check(read(str(path)), 0.01)
    check(read(str(path)), 0.005)  # exactly the rate
    path.write_bytes(GOOD * 197 + b"{broken\n" + b'{"no": 1}\n' * 2)
    with pytest.raises(DataRejected) as raised:
        check(read(str(path)), 0.01)
    line = str(raised.value)
    assert line.startswith(f"{path}, row 198: broken JSON (")
    assert "3 of 200 rows are bad (2 missing column, 1 broken JSON), more than max_reject_rate 0.01 allows" in line
    assert line.endswith("; mend the line: one JSON object a line, or raise data.max_reject_rate")
    assert "\n" not in line
    check(read(str(path)), 0.02)


def test_reject_says_what_stood_there(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "half of a row\n')
    reject = read(str(tmp_path)).rejects[0].as_json()
    assert set(reject) == {"source", "row", "cause", "detail"}
    assert '{"text": "half of a row' in reject["detail"]
    json.dumps(reject)
