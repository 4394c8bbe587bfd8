"""Cleaning rules by their options: what each drops or changes is counted, shown on the page, and undone where asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penchant.contracts import StageContext
from penchant.data.pii import unmask
from penchant.data.split import position
from penchant.data.store import read_documents
from penchant.errors import InputError
from penchant.records import Document
from penchant.stages import prepare

TOWNS = ["Lisbon", "Ghent", "Turku", "Brno", "Leeds", "Porto", "Lyon", "Bergen", "Graz", "Cork", "Siena", "Delft"]


def rows(folder: Path, extra: list[dict[str, Any]]) -> Path:
    usual = [
        {"text": f"The people of {t} walked to the market and bought {k + 3} loaves, then {t} slept. No. {k * 37}.\n"}
        for k, t in enumerate(TOWNS)
    ]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*usual, *extra]), encoding="utf-8")
    return path


def prepared(folder: Path, path: Path, **options: Any) -> tuple[dict[str, Any], list[Document]]:
    out = folder / "out"
    out.mkdir(exist_ok=True)
    context = StageContext("prepare", out, {}, 1, 1, lambda: 0, lambda line: None)
    prepare.run(prepare.Options(path=str(path), workers=1, signals=["style"], **options), context)
    parts = ("train", "validation", "test")
    return json.loads((out / "summary.json").read_text()), [
        d for p in parts for d in read_documents(out / f"{p}.parquet")
    ]


def test_each_rule_counts_and_shows_what_it_did(tmp_path: Path) -> None:
    path = rows(
        tmp_path,
        [
            {"text": "Der Mann ging mit seinem Hund durch den Wald und sah die alten Bäume am Fluss. <b>\n"},
            {"text": "cafÃ© in the town of the river and the hills, mail jane@example.org or call.\n"},
            {"text": "What is the name of the river that flows through the old town of Ghent, please?\n"},
        ],
    )
    (tmp_path / "quiz").mkdir()
    (tmp_path / "quiz" / "q.txt").write_text("what is the name of the river that flows through the old town of ghent")
    summary, documents = prepared(
        tmp_path, path, languages=["en"], repair=True, pii="reversible", decontaminate=str(tmp_path / "quiz")
    )
    counts = {name: (rule["action"], rule["count"]) for name, rule in summary["rules"].items()}
    assert counts == {
        "language": ("dropped", 1),
        "contaminated": ("dropped", 1),
        "repair": ("changed", 1),
        "pii": ("changed", 1),
        "pii: email": ("changed", 1),
    }
    [masked] = [d for d in documents if "café" in d.text]
    assert "<EMAIL_1>" in masked.text
    table = tmp_path / "out" / "pii.jsonl"
    assert table.stat().st_mode & 0o077 == 0
    values = json.loads(table.read_text())["values"]
    assert "jane@example.org" in unmask(masked.text, values)
    page = (tmp_path / "out" / "prepare_report.html").read_text()
    assert "Der Mann ging" in page and "&lt;b&gt;" in page and "jane@example.org" not in page
    sheet = (tmp_path / "out" / "README.md").read_text()
    assert f"`{path}`" in sheet and "| contaminated | dropped | 1 |" in sheet and "not given" in sheet
    assert "no recogniser looked for them" in sheet and "no recogniser looked for them" in page


def test_an_address_beside_a_repair_is_not_shown(tmp_path: Path) -> None:
    mail = "write to somebody.with.a.long.name@example.org about the cafÃ© of the town.\n"
    path = rows(tmp_path, [{"text": mail}, {"text": "A short line.\n"}])
    summary, _ = prepared(tmp_path, path, repair=True)
    [example] = summary["rules"]["repair"]["examples"]
    assert "café" in example["detail"]
    assert "example.org" not in example["detail"]


def test_a_thread_is_on_one_side(tmp_path: Path) -> None:
    path = tmp_path / "forum.jsonl"
    posts = [
        {
            "id": f"p{k}",
            "reply": f"p{k - 1}" if k % 4 else None,
            "text": f"On {t} we said the {k * 91}th thing of it.{'  ' * (k % 3)}\n",
        }
        for k, t in enumerate(TOWNS * 3)
    ]
    path.write_text("".join(json.dumps(post) + "\n" for post in posts))
    _, documents = prepared(tmp_path, path, reply_column="reply", near_duplicates=None)
    assert {d.source for d in documents} == {f"p{k}" for k in range(0, 36, 4)}
    assert all(d.source == f"p{int(str(d.columns['id'])[1:]) // 4 * 4}" for d in documents)
    with pytest.raises(InputError, match=r"data\.reply_column"):
        prepared(tmp_path, path, reply_column="parent")


def test_texts_with_personal_data_can_be_dropped_and_blanks_evened(tmp_path: Path) -> None:
    path = rows(tmp_path, [{"text": "mail a@b.org\n"}, {"text": "a\u00a0b  \n\n\n\nc of the town\n"}])
    summary, documents = prepared(tmp_path, path, pii="drop", spaces=True)
    assert summary["drops"] == {"personal data": 1}
    assert "a b\n\nc of the town\n" in {d.text for d in documents}
    assert "a@b.org" not in (tmp_path / "out" / "prepare_report.html").read_text()
    assert not (tmp_path / "out" / "pii.jsonl").exists()


def test_of_far_too_many_rows_only_some_are_looked_at(tmp_path: Path) -> None:
    """The documents are the first by the hash that `max_documents` goes by, and the others are counted."""
    path = tmp_path / "d.jsonl"
    texts = [f"x{i} = {i * 7919}\ny{i}={i}\n" for i in range(100)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    _, documents = prepared(tmp_path, path, max_documents=10, near_duplicates=None)
    dropped = [json.loads(line) for line in (tmp_path / "out" / "drops.jsonl").read_text().splitlines()]
    assert len(dropped) == 90 and {drop["cause"] for drop in dropped} == {"beyond max_documents"}
    assert sum("not looked at" in drop["detail"] for drop in dropped) == 70
    best = sorted((position(f"d.jsonl#{i + 1}", "sample"), f"d.jsonl#{i + 1}") for i in range(100))[:10]
    assert {document.source for document in documents} == {source for _, source in best}


def test_names_are_masked_by_a_recogniser_where_one_is_given(tmp_path: Path) -> None:
    spacy = pytest.importorskip("spacy")
    model = spacy.blank("en")
    model.add_pipe("entity_ruler").add_patterns(
        [
            {"label": "PERSON", "pattern": "Jane"},
            {"label": "GPE", "pattern": "Turku"},
            {"label": "GPE", "pattern": "Ghent"},
        ]
    )
    model.to_disk(tmp_path / "names")
    path = rows(tmp_path, [{"text": "Jane of Ghent wrote to jane@example.org about the river.\n"}])
    summary, documents = prepared(
        tmp_path, path, pii="reversible", entities=str(tmp_path / "names"), near_duplicates=None
    )
    texts = {d.text for d in documents}
    assert "<PERSON_1> of <PLACE_1> wrote to <EMAIL_1> about the river.\n" in texts
    assert not any("Turku" in text or "Ghent" in text for text in texts)
    counts = {name: rule["count"] for name, rule in summary["rules"].items()}
    assert counts == {"pii": 3, "pii: person": 1, "pii: place": 5, "pii: email": 1}
    page = (tmp_path / "out" / "prepare_report.html").read_text()
    assert "a recogniser looked for entities: person, place" in page and "Jane" not in page and "Turku" not in page
    prepared(tmp_path, path, pii="mask")
    assert "no recogniser looked for them (data.entities=PIPELINE)" in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(ValueError, match="pii=mask"):
        prepared(tmp_path, path, entities=str(tmp_path / "names"))
