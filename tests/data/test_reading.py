import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penchant.data.files import find
from penchant.data.read import Reading, read
from penchant.errors import InputError


def by_source(reading: Reading) -> dict[str, str]:
    return {row.source: row.text for row in reading.rows}


def json_lines(rows: list[Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def test_stdlib_leaves_out_what_would_drown_the_rest() -> None:
    sources = find("stdlib").sources
    names = [source.name for source in sources]
    assert names == sorted(names)
    assert len(names) == len(set(names)) > 400
    assert {"argparse.py", "json/decoder.py", "unittest/case.py"} <= set(names)
    for part in ("test/", "idlelib/", "lib2to3/", "encodings/", "site-packages/", "_sysconfigdata", "html/entities"):
        assert not [name for name in names if name.startswith(part) or f"/{part}" in name]
    assert "stringprep.py" not in names


def test_folder_of_every_kind(tmp_path: Path) -> None:
    (tmp_path / "sub" / ".hidden").mkdir(parents=True)
    (tmp_path / "sub" / ".hidden" / "no.py").write_text("no")
    (tmp_path / "sub" / "a.py").write_text("x = 1\n")
    (tmp_path / "b.md").write_text("# B\n")
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress("wörds".encode()))
    (tmp_path / "d.jsonl").write_bytes(json_lines([{"text": "one", "title": "T", "tags": [1]}, {"text": "two"}]))
    (tmp_path / "e.jsonl.gz").write_bytes(gzip.compress(json_lines([{"text": "three", "n": 3}])))
    (tmp_path / "f.csv").write_text('text,author\n"four, and\nmore",A\nfive,B\n')
    pq.write_table(pa.table({"text": ["six"], "deep": [[1]], "score": [0.5]}), tmp_path / "g.parquet")
    (tmp_path / "h.doc").write_bytes(b"\0")
    reading = read(str(tmp_path))
    assert by_source(reading) == {
        "sub/a.py": "x = 1\n",
        "b.md": "# B\n",
        "c.txt.gz": "wörds",
        "d.jsonl#1": "one",
        "d.jsonl#2": "two",
        "e.jsonl.gz#1": "three",
        "f.csv#1": "four, and\nmore",
        "f.csv#2": "five",
        "g.parquet#1": "six",
    }
    assert not reading.rejects
    assert reading.passed_over == {".doc": 1}
    columns = {row.source: dict(row.columns) for row in reading.rows}
    assert columns["d.jsonl#1"] == {"title": "T"}  # scalars only
    assert columns["f.csv#1"] == {"author": "A"}
    assert columns["g.parquet#1"] == {"score": 0.5}


def test_files_globs_and_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one/a.py", "one/deep/b.py", "two/a.py", "one/c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"# {name}\n")
    assert list(by_source(read(str(tmp_path / "one" / "a.py")))) == ["a.py"]
    assert list(by_source(read(str(tmp_path / "*" / "*.py")))) == ["one/a.py", "two/a.py"]
    assert list(by_source(read(str(tmp_path / "one" / "**" / "*.py")))) == ["a.py", "deep/b.py"]
    both = read([str(tmp_path / "one"), str(tmp_path / "two")])
    assert list(by_source(both)) == ["one/a.py", "one/c.txt", "one/deep/b.py", "two/a.py"]
    assert len(read([str(tmp_path), str(tmp_path / "one")]).rows) == 4  # each file once
    monkeypatch.chdir(tmp_path)
    assert list(by_source(read("one/*.txt"))) == ["c.txt"]


def test_another_text_column(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(json_lines([{"text": 1, "body": "here", "source": "web"}]))
    row = read(str(tmp_path), text_column="body").rows[0]
    assert (row.text, row.columns) == ("here", {"text": 1, "source": "web"})


def test_saved_dataset_folder(tmp_path: Path) -> None:
    def save(folder: Path, texts: list[str]) -> None:
        folder.mkdir(parents=True)
        table = pa.table({"text": texts, "label": list(range(len(texts)))})
        for name in ("data-00000-of-00001.arrow", "cache-1.arrow"):
            with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
        (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
        (folder / "dataset_info.json").write_text("{}")

    save(tmp_path / "train", ["a", "b"])
    save(tmp_path / "test", ["c"])
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    reading = read(str(tmp_path))
    assert [row.text for row in reading.rows] == ["c", "a", "b"]
    assert reading.rows[1].source == "train/data-00000-of-00001.arrow#1"
    assert reading.rows[1].columns == {"label": 0}
    assert not reading.passed_over


def test_datasets_own_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"text": ["a", "b"], "n": [1, 2]}).save_to_disk(str(tmp_path / "d"))
    assert [(row.text, row.columns) for row in read(str(tmp_path / "d")).rows] == [("a", {"n": 1}), ("b", {"n": 2})]


@pytest.mark.parametrize(
    ("data", "name", "expected", "encoding"),
    [
        ("naïve\n".encode(), "a.txt", "naïve\n", None),
        (b"\xef\xbb\xbfna", "a.txt", "\ufeffna", None),
        ("naïve".encode("utf-16"), "a.txt", "naïve", "utf-16"),
        ("naïve “q”".encode("cp1252"), "a.txt", "naïve “q”", "cp1252"),
        ("# coding: koi8-r\n# да\n".encode("koi8-r"), "a.py", "# coding: koi8-r\n# да\n", "koi8-r"),
        ("# coding: nonsense\n# é\n".encode("cp1252"), "a.py", "# coding: nonsense\n# é\n", "cp1252"),
    ],
)
def test_encodings_are_tried_and_counted(
    tmp_path: Path, data: bytes, name: str, expected: str, encoding: str | None
) -> None:
    (tmp_path / name).write_bytes(data)
    reading = read(str(tmp_path))
    assert [row.text for row in reading.rows] == [expected]
    assert dict(reading.encodings) == ({encoding: 1} if encoding else {})


def test_mixed_encodings_in_one_file(tmp_path: Path) -> None:
    lines = ['{"text": "é"}'.encode(), '{"text": "é"}'.encode("cp1252")]
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines) + b"\n\n")
    (tmp_path / "b.csv").write_bytes(b"\xef\xbb\xbftext\n" + "é\n".encode() + "é\n".encode("cp1252"))
    reading = read(str(tmp_path))
    assert [row.text for row in reading.rows] == ["é"] * 4
    assert dict(reading.encodings) == {"cp1252": 2}


@pytest.mark.parametrize("path", ["absent", "absent/*.py", [], "plain.doc", "empty", "others"])
def test_wrong_paths_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("others").mkdir()
    Path("others/a.exe").write_text("")
    Path("plain.doc").write_text("")
    with pytest.raises(InputError) as raised:
        read(path)
    assert raised.value.exit_code == 2
    assert str(path) in str(raised.value) or path == []
    assert "; " in str(raised.value)
    assert "\n" not in str(raised.value)
