import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from penchant.contracts import StageContext
from penchant.data.store import read_documents
from penchant.errors import DataRejected, InputError, OptionError, PenchantError, Stopped
from penchant.records import Document
from penchant.stages import prepare, tokenizer
from penchant.text.control import Bins, resolve_threshold
from penchant.text.tokenizer import Tokenizer

Prepared = tuple[dict[str, Any], dict[str, Any], dict[str, list[Document]]]  # result, summary, documents by part


class Bench:
    """A folder to prepare in, and what was noted."""

    def __init__(self, folder: Path):
        self.folder, self.notes, self.signal = folder, list[str](), 0

    def context(self, name: str = "prepare") -> StageContext:
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        inputs = {} if name == "prepare" else {"data": self.folder / "prepare"}
        return StageContext(name, self.folder / name, inputs, 1, 1, lambda: self.signal, self.notes.append)

    def run(self, **options: Any) -> Prepared:
        result = prepare.run(prepare.Options(workers=1, **options), self.context())
        folder = self.folder / "prepare"
        parts = {n: read_documents(folder / f"{n}.parquet") for n in ("train", "validation", "test")}
        return result, json.loads((folder / "summary.json").read_text()), parts

    def rows(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "prepare" / name).read_text().splitlines()]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "out")


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    for k in range(12):
        body = f'def f_{k}(a):\n    """Return item {k}."""\n    return a + {k}\n'
        worse = f"\n\ndef g_{k}( a ):\n    return '{'ab cd ef gh' * k}'+a\n"
        (folder / f"m{k}.py").write_text(body + worse * (k + 1))
    return folder


def prose(path: Path, count: int = 40) -> Path:
    moods = ["What a lovely happy day it was.", "He was sad and the night was awful.", "The table stood there."]
    rows = [
        {
            "text": " ".join(moods[(k + j) % 3] + f" Number {k * 31 + j}." for j in range(4 + k % 3)),
            "title": f"B{k % 5}",
        }
        for k in range(count)
    ]
    path.write_bytes(gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows)))
    return path


def test_code_by_lines(bench: Bench, code: Path) -> None:
    result, summary, parts = bench.run(path=str(code))
    assert summary["documents"] == {"read": 12, "kept": 12, **{n: len(d) for n, d in parts.items()}}
    assert all(parts.values())
    assert summary["segments"] == {n: sum(len(d.ends) for d in ds) for n, ds in parts.items()}
    assert summary["rejects"] == {}
    assert summary["languages"] == {"python": 12}
    assert result["data_hash"] == summary["data_hash"]
    style = summary["signals"]["style"]
    assert style["range"] == [None, 0.0]
    assert style["help"].startswith("House style")
    assert list(style["quantiles"]) == ["0.01", "0.05", "0.1", "0.25", "0.5", "0.75", "0.9", "0.95", "0.99"]
    assert bench.rows("rejects.jsonl") == []
    document = parts["train"][0]
    assert "".join(document.segments()) == document.text == (code / document.source).read_text()
    threshold = resolve_threshold("q0.9", summary, "style")
    assert set(Bins.two("style", threshold).of(document)) == {"good", "bad"}
    assert document.scores["style"][0] == 0
    assert document.scores["style"][5] < -1


def test_the_same_again_gives_the_same_bytes(bench: Bench, code: Path, tmp_path: Path) -> None:
    bench.run(path=str(code))
    other = Bench(tmp_path / "other")
    other.run(path=str(code))
    names = [
        "README.md",
        "drops.jsonl",
        "prepare_report.html",
        "rejects.jsonl",
        "summary.json",
        "test.parquet",
        "train.parquet",
        "validation.parquet",
    ]
    assert sorted(os.listdir(bench.folder / "prepare")) == sorted(names)
    for name in names:
        assert (bench.folder / "prepare" / name).read_bytes() == (other.folder / "prepare" / name).read_bytes()


def test_prose_by_sentences_and_groups(bench: Bench, tmp_path: Path) -> None:
    pytest.importorskip("vaderSentiment")
    path = prose(tmp_path / "books.jsonl.gz")
    signals = ["sentiment", {"name": "readability", "as": "ease", "min_words": 2}]
    _, summary, parts = bench.run(path=str(path), segment="sentence", signals=signals, group_column="title")
    assert list(summary["signals"]) == ["sentiment", "ease"]
    assert summary["signals"]["ease"]["options"] == {"min_words": 2}
    groups = {name: {d.source for d in documents} for name, documents in parts.items()}
    assert set().union(*groups.values()) == {f"B{k}" for k in range(5)}
    assert sum(map(len, groups.values())) == 5  # no book in two parts
    document = parts["train"][0]
    assert document.columns["title"] == document.source
    assert document.columns["row_source"].startswith("books.jsonl.gz#")
    assert len(set(document.scores["sentiment"])) > 1
    _, _, by_row = bench.run(path=str(path), segment="sentence", signals=signals)
    assert by_row["train"][0].source.startswith("books.jsonl.gz#")
    assert "row_source" not in by_row["train"][0].columns


def test_duplicates_short_and_empty_rows_are_drops_not_rejects(bench: Bench, code: Path) -> None:
    (code / "copy.py").write_text((code / "m3.py").read_text())
    (code / "empty.py").write_text("\n \n")
    (code / "short.py").write_text("x = 1\n")
    _, summary, _ = bench.run(path=str(code), min_chars=20)
    assert summary["drops"] == {"empty": 1, "exact duplicate": 1, "short": 1}
    assert summary["rejects"] == {}
    assert [(d["source"], d["cause"]) for d in bench.rows("drops.jsonl")] == [
        ("empty.py", "empty"),
        ("short.py", "short"),
        ("m3.py", "exact duplicate"),
    ]
    assert any("1 exact duplicate" in note for note in bench.notes)


def dataset(folder: Path, names: tuple[str, ...]) -> Path:
    """Files of rows, 6 a file."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        rows = [{"text": f"{name} has the row {number} {k} " + "very " * k + "good."} for k in range(6)]
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


OWN = ("train/0.jsonl", "train/1.jsonl", "validation/0.jsonl", "test-0.jsonl")


@pytest.mark.parametrize("group", [None, "group"])
def test_a_dataset_keeps_its_own_parts_where_it_has_all_three(bench: Bench, tmp_path: Path, group: str | None) -> None:
    path = str(dataset(tmp_path / "d", OWN))
    if group:
        for file in (tmp_path / "d").rglob("*.jsonl"):
            file.write_text(file.read_text().replace("}", ', "group": "same"}'))
    _, summary, parts = bench.run(path=path, signals=["readability"], near_duplicates=None, group_column=group)
    assert {name: len(rows) for name, rows in parts.items()} == {"train": 12, "validation": 6, "test": 6}
    assert all(d.text.startswith(name) for name, rows in parts.items() for d in rows)
    assert summary["splits"] == "keep"
    assert any("are kept" in note for note in bench.notes)


def test_splits_by_hash_where_asked_or_where_a_part_is_missing(bench: Bench, tmp_path: Path, code: Path) -> None:
    options: dict[str, Any] = {"signals": ["readability"], "near_duplicates": None}
    _, summary, parts = bench.run(path=str(dataset(tmp_path / "d", OWN)), splits="hash", **options)
    assert summary["splits"] == "hash"
    assert any(d.text.startswith("test") for d in parts["train"])
    _, summary, _ = bench.run(path=str(dataset(tmp_path / "e", OWN[:2] + OWN[3:])), **options)
    assert summary["splits"] == "hash"
    assert any("no file is named validation" in note for note in bench.notes)
    for name in ("train", "validation", "test"):  # folders of sources are no dataset
        (code / name).mkdir()
        (code / name / "a.py").write_text(f"def {name}():\n    return '{name}'\n")
    assert bench.run(path=str(code))[1]["splits"] == "hash"


def test_splits_keep_wants_all_three_and_takes_any_kind(bench: Bench, tmp_path: Path) -> None:
    options: dict[str, Any] = {"signals": ["readability"], "near_duplicates": None, "splits": "keep"}
    with pytest.raises(InputError, match=r"no usable row in a file named validation; .*data\.splits=hash"):
        bench.run(path=str(dataset(tmp_path / "d", OWN[:2] + OWN[3:])), **options)
    with pytest.raises(InputError, match=r"more\.jsonl: the file's name says no part"):
        bench.run(path=str(dataset(tmp_path / "e", (*OWN, "more.jsonl"))), **options)
    for name in ("train", "dev", "test"):
        (tmp_path / "f" / name).mkdir(parents=True)
        (tmp_path / "f" / name / "a.txt").write_text(f"The {name} file. It is of a length.\nAnd goes on and on.\n")
    _, summary, parts = bench.run(path=str(tmp_path / "f"), **options)
    assert summary["splits"] == "keep"
    assert [d.source for d in parts["validation"]] == ["dev/a.txt"]


def test_one_text_alone_is_told_how_to_be_cut(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("It was a bright cold day in April.\n" * 9)
    with pytest.raises(DataRejected, match=r"only 1 group.*cut a long one into files.*split -l"):
        bench.run(path=str(tmp_path / "book.txt"), signals=["readability"])


def test_max_documents_keeps_the_same_ones(bench: Bench, code: Path) -> None:
    _, summary, parts = bench.run(path=str(code), max_documents=6)
    chosen = {d.source for documents in parts.values() for d in documents}
    assert len(chosen) == summary["documents"]["kept"] == 6
    assert summary["drops"] == {"beyond max_documents": 6}
    for name in {f"m{k}.py" for k in range(12)} - chosen:
        (code / name).unlink()
    _, _, again = bench.run(path=str(code), max_documents=6)
    assert {d.source for documents in again.values() for d in documents} == chosen


def test_few_bad_rows_are_kept_beside(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [json.dumps({"text": f"A happy text, number {k}.\nA sad one.", "n": k}) for k in range(150)]
    path.write_text("\n".join([*rows[:70], "{broken", *rows[70:]]) + "\n")
    _, summary, parts = bench.run(path=str(path), signals=["readability"])
    assert summary["documents"]["read"] == 151
    assert summary["documents"]["kept"] == 150
    assert summary["rejects"] == {"broken JSON": 1}
    assert summary["max_reject_rate"] == 0.01
    (reject,) = bench.rows("rejects.jsonl")
    assert (reject["source"], reject["row"], reject["cause"]) == ("a.jsonl#71", 71, "broken JSON")
    assert any("1 bad rows (1 broken JSON)" in note for note in bench.notes)
    assert {type(d.columns["n"]) for d in parts["train"]} == {int}


def broken_rows(folder: Path) -> None:
    (folder / "a.jsonl").write_text('{"text": "fine"}\n' * 20 + "{no\n" * 2)


def binary_file(folder: Path) -> None:
    (folder / "a.txt").write_bytes(b"\x7fELF\0\0")


def big_row(folder: Path) -> None:
    (folder / "a.jsonl").write_text(json.dumps({"text": "x" * 10_000_000}) + "\n")


def blank_rows(folder: Path) -> None:
    (folder / "a.jsonl").write_text('{"text": ""}\n{"text": null}\n{"text": " "}\n')


def same_scores(folder: Path) -> None:
    for k in range(5):
        (folder / f"{k}.py").write_text(f"x = {k}\n")


def two_files(folder: Path) -> None:
    for k in range(2):
        (folder / f"{k}.py").write_text(f"x={k}\n")


def nothing(folder: Path) -> None:
    (folder / ".hidden.py").write_text("")


def other_column(folder: Path) -> None:
    (folder / "a.csv").write_text("body\none\n")


@pytest.mark.parametrize(
    ("make", "options", "exit_code", "message"),
    [
        (broken_rows, {}, 4, r"a\.jsonl, row 21: broken JSON .* 2 of 22 rows are bad .*; mend the line"),
        (binary_file, {}, 4, r"a\.txt: binary \(a NUL byte at byte 4\)"),
        (big_row, {}, 4, r"a\.jsonl, row 1: too big .*; cut it up, or raise data\.max_document_bytes"),
        (blank_rows, {}, 4, r"no usable row among 3 \(3 empty\); "),
        (same_scores, {}, 4, r"signal style scores every segment the same \(0\)"),
        (two_files, {}, 4, r"only 2 group.*; give at least 3 files"),
        (nothing, {}, 2, r"holds no file that we can read; give \.txt"),
        (other_column, {}, 2, r"a\.csv, row 1: no row has the column .*body.*; name the column"),
        (two_files, {"group_column": "title"}, 2, r"no row has the column 'title'; .*data\.group_column"),
        (two_files, {"signals": ["styel"]}, 2, r"no signal named 'styel'; did you mean 'style'"),
        (two_files, {"signals": [{"name": "style", "quote": 1}]}, 2, r"signal style: quote: .*quotes"),
        (two_files, {"signals": [{"name": "style"}, "style"]}, 2, r"two signals write the scores 'style'; .*`as`"),
        (two_files, {"signals": [{"nam": "style"}]}, 2, r"a signal has no name"),
    ],
)
def test_bad_input_is_one_clear_line(
    bench: Bench,
    tmp_path: Path,
    make: Callable[[Path], None],
    options: dict[str, Any],
    exit_code: int,
    message: str,
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    make(folder)
    with pytest.raises(PenchantError, match=message) as raised:
        bench.run(path=str(folder), **options)
    assert raised.value.exit_code == exit_code
    assert "\n" not in str(raised.value)
    left = os.listdir(bench.folder / "prepare")
    assert "summary.json" not in left
    assert not [name for name in left if name.endswith((".parquet", ".tmp"))]


def test_rejects_are_there_to_be_looked_at_when_they_stop_the_run(bench: Bench, tmp_path: Path) -> None:
    broken_rows(tmp_path)
    with pytest.raises(DataRejected):
        bench.run(path=str(tmp_path / "a.jsonl"))
    assert [row["row"] for row in bench.rows("rejects.jsonl")] == [21, 22]


def test_absent_path(bench: Bench) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such file or folder; check the path"):
        bench.run(path="nowhere")


def test_options_are_checked() -> None:
    for wrong in ({"segmnt": "line"}, {"segment": "word"}, {"fractions": (0.9, 0.9, 0)}, {"fractions": (1, -1, 1)}):
        with pytest.raises(ValidationError):
            prepare.Options(**wrong)  # type: ignore[arg-type]


def test_no_train_part_is_one_clear_line(bench: Bench, code: Path) -> None:
    with pytest.raises(DataRejected, match=r"the train part is empty.*data\.fractions"):
        bench.run(path=str(code), fractions=(0.0, 0.5, 0.5))


def test_stop_is_heard(bench: Bench, code: Path) -> None:
    bench.signal = 15
    with pytest.raises(Stopped) as raised:
        bench.run(path=str(code))
    assert raised.value.exit_code == 143


def test_a_signal_of_the_users_own(bench: Bench, code: Path, tmp_path: Path) -> None:
    path = tmp_path / "short_lines.py"
    path.write_text(
        '"""Short lines."""\n\n\ndef build(options, context):\n'
        "    return lambda segments: [-len(s.text) for s in segments]\n"
    )
    _, summary, _ = bench.run(path=str(code), signals=[str(path), "style"])
    assert summary["signals"]["short_lines"]["help"] == "Short lines."
    assert summary["signals"]["short_lines"]["languages"] == "any"


def test_a_signal_for_another_language_is_noted(bench: Bench, tmp_path: Path) -> None:
    path = prose(tmp_path / "a.jsonl.gz")
    bench.run(path=str(path), signals=[{"name": "style", "docstrings": False}], segment="sentence")
    assert any("signal style serves python, but most documents look like en" in note for note in bench.notes)


def test_plan_reads_nothing(bench: Bench, code: Path) -> None:
    plan = prepare.plan(prepare.Options(path=str(code), workers=1), bench.context())
    assert plan["files"] == 12
    assert plan["seconds"] >= 1


def test_tokenizer_stage(bench: Bench, code: Path) -> None:
    bench.run(path=str(code))
    result = tokenizer.run(tokenizer.Options(vocab_size=300), bench.context("tokenizer"))
    loaded = Tokenizer.load(bench.folder / "tokenizer")
    assert result["vocab_size"] == loaded.vocab_size <= 300
    assert result["characters_per_token"] > 1
    with pytest.raises(InputError, match="no input `data`"):
        tokenizer.run(tokenizer.Options(), bench.context("prepare"))
    with pytest.raises(OptionError, match="a signal has no name"):
        prepare.build_signals(['{"x": 1}'])


def test_real_books(bench: Bench) -> None:
    if "PENCHANT_DATA" not in os.environ:
        pytest.skip("PENCHANT_DATA is not set: a folder with corpus/books_en.jsonl.gz")
    path = Path(os.environ["PENCHANT_DATA"]) / "corpus" / "books_en.jsonl.gz"
    _, summary, parts = bench.run(
        path=str(path), segment="sentence", signals=["readability"], group_column="title", max_documents=60
    )
    assert summary["languages"] == {"en": 60}
    assert all(parts.values())
    assert 0 < summary["signals"]["readability"]["quantiles"]["0.5"] < 110


def test_real_chinese(bench: Bench) -> None:
    if "PENCHANT_DATA" not in os.environ:
        pytest.skip("PENCHANT_DATA is not set: a folder with corpus/classical_zh.jsonl.gz")
    path = Path(os.environ["PENCHANT_DATA"]) / "corpus" / "classical_zh.jsonl.gz"
    with pytest.raises(DataRejected, match="not text"):
        bench.run(path=str(path), text_column="paragraphs")
    _, summary, _ = bench.run(path=str(path), text_column="title", signals=["readability"], max_documents=300)
    assert max(summary["languages"], key=summary["languages"].get) == "zh"


def test_segments_without_text_are_counted(bench: Bench, tmp_path: Path) -> None:
    rows = [json.dumps({"text": f"one line {k}\n\n\n\nanother one {k}, longer.\n"}) for k in range(40)]
    (tmp_path / "r.jsonl").write_text("\n".join(rows) + "\n")
    _, summary, _ = bench.run(path=str(tmp_path / "r.jsonl"), near_duplicates=None, signals=["readability"])
    assert summary["empty_segments"] == 3 * 40
    assert any("120 of 200 segments by line hold no text" in note for note in bench.notes)
    assert "120 segments hold no text" in (bench.folder / "prepare" / "README.md").read_text()
