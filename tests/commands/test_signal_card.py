"""`penchant signal card`: a signal held against people, people against each other, and what is wrong with the rows."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penchant import console
from penchant.cli import main

DATA = os.environ.get("PENCHANT_DATA")


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["signal", "card", *words])
    return int(end.value.code or 0)


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def rows(path: Path, found: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    return str(path)


def rated(folder: Path, noise: float, raters: int = 4) -> str:
    """Texts of one to nine different words whose raters count them, more or less well; a row a rating."""
    rng = np.random.default_rng(1)
    found = []
    for i in range(120):
        size = int(rng.integers(1, 10))
        text = " ".join(["word"] * (10 - size) + [f"w{k}" for k in range(size)])
        found += [
            {"post": i, "user": f"u{k}", "text": text, "stars": round(size + noise * rng.normal(), 1)}
            for k in range(raters)
        ]
    return rows(folder / "rated.jsonl", found)


def test_a_signal_is_held_against_people_and_people_against_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--item", "post", "--rater", "user", "--label", "stars", "--set", "n=1", "--json")
    assert call("repetition", rated(tmp_path, 1.0), *given, "--output", "card") == 0
    sure = told(capsys)
    assert (sure["texts"], sure["votes_a_text"]) == (120, 4.0)
    assert sure["concordance"][0] > 0.9 > sure["ceiling"][0] > 0.75
    assert sure["concordance"][1] < sure["concordance"][0] < sure["concordance"][2]
    assert json.loads((Path("card") / "card.json").read_text()) == sure
    page = (Path("card") / "README.md").read_text()
    assert "# The signal repetition" in page and "Languages: any" in page and "one rater with the others" in page
    assert call("repetition", rated(tmp_path, 6.0), *given) == 0
    unsure = told(capsys)
    assert unsure["ceiling"][0] < sure["ceiling"][0] and unsure["concordance"][0] < sure["concordance"][0]
    assert call("repetition", rated(tmp_path, 1.0), *given, "--texts", "50") == 0
    assert told(capsys)["texts"] == 50


def test_labels_that_are_words_need_one_that_shall_score_high(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = rows(
        tmp_path / "d.jsonl", [{"text": "go on go on", "label": "dull"}, {"text": "one two", "label": "fresh"}] * 4
    )
    assert call("repetition", data, "--set", "n=1") == 2
    assert "--positive, one of dull, fresh" in capsys.readouterr().err
    assert call("repetition", data, "--set", "n=1", "--positive", "fresh", "--json") == 0
    found = told(capsys)
    assert found["tied"] == 1.0  # two scores, each of four texts
    assert found["concordance"][0] == 1.0 and found["ceiling"] == [None, None, None]
    assert call("repetition", data, "--positive", "new") == 2
    assert "the labels are dull, fresh" in capsys.readouterr().err


def test_what_is_wrong_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = rows(tmp_path / "d.jsonl", [{"text": "a b", "label": k % 2} for k in range(6)])
    for words, code, said in (
        (("repetition", data), 4, "every text has the score 1"),
        (("repetition", data, "--text", "body"), 2, "no column 'body'"),
        (("repetition", data, "--label", "stars"), 2, "no column 'stars'"),
        (("repetitoin", data), 2, "did you mean 'repetition'?"),
        (("repetition", data, "--set", "m=1"), 2, "m"),
        (("repetition", str(tmp_path / "none.jsonl")), 2, "none.jsonl"),
    ):
        assert call(*words) == code
        assert said in capsys.readouterr().err
    data = rows(
        tmp_path / "e.jsonl", [{"text": "a b", "label": None}, *({"text": f"a {k}", "label": k} for k in range(5))]
    )
    assert call("repetition", data) == 4
    assert "missing label; 1 of 6 votes are unusable" in capsys.readouterr().err
    data = rows(tmp_path / "f.jsonl", [{"text": " ", "label": 1}, *({"text": f"a {k}", "label": k} for k in range(5))])
    assert call("repetition", data) == 4
    assert "1 of 6 texts are empty" in capsys.readouterr().err


@pytest.mark.skipif(DATA is None, reason="PENCHANT_DATA is not set")
def test_real_ratings(capsys: pytest.CaptureFixture[str]) -> None:
    """VADER orders film sentences better than their length does; readability says nothing of offence."""
    pytest.importorskip("vaderSentiment")
    assert call("sentiment", f"{DATA}/sentiment/sst5_dev.jsonl.gz", "--json") == 0
    found = told(capsys)
    assert found["texts"] == 1101
    assert found["concordance"][1] > 0.6 > found["length_alone"][2]


def test_how_far_it_is_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setattr(console, "_PLAIN_EVERY", 0.0)
    given = ("--item", "post", "--rater", "user", "--label", "stars", "--json")
    assert call("repetition", rated(tmp_path, 1.0), *given) == 0
    found = capsys.readouterr()
    assert "repetition: 60/120" in found.err and "120/120" in found.err
    assert json.loads(found.out)["texts"] == 120
