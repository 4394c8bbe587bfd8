"""Votes from files in each form, rows written from them, and the command."""

import json
import subprocess
import sys

import pytest

from penchant.commands._raters import go
from penchant.errors import DataRejected, InputError
from penchant.raters.read import Layout, read_votes


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def run(data, layout=None, method="majority", output=None, prompt=None, positive=None, truth=None, calibrate=None):
    return go(data, method, [], layout or Layout(), output, prompt, positive, truth, calibrate, 0)


def test_the_forms(tmp_path):
    """A long table, a mapping, a list and columns of the same votes give the same."""
    (tmp_path / "long.tsv").write_text(
        'item\tworker\tlabel\nq1\ta\t1\nq1\tb\t0\nq2\ta\t1\nq2\tb\t"1\n'.replace('"', "")
    )
    forms = {
        "long": (str(tmp_path / "long.tsv"), Layout()),
        "mapping": (
            write(tmp_path / "m.jsonl", [
                {"id": "q1", "annotations": {"a": 1, "b": 0}}, {"id": "q2", "annotations": {"a": 1, "b": 1}},
            ]),
            Layout(item="id"),
        ),
        "list": (
            write(tmp_path / "l.jsonl", [
                {"id": "q1", "judgements": [{"rater": "a", "choice": "1"}, {"rater": "b", "choice": "0"}]},
                {"id": "q2", "judgements": [{"rater": "a", "choice": "1"}, {"rater": "b", "choice": "1"}]},
            ]),
            Layout(item="id"),
        ),
        "columns": (write(tmp_path / "c.jsonl", [{"id": "q1", "a": 1, "b": 0}, {"id": "q2", "a": 1, "b": 1}]),
                    Layout(item="id", columns=("a", "b"))),
    }  # fmt: skip
    for path, layout in forms.values():
        votes = read_votes(path, layout).votes
        assert votes.items == ("q1", "q2") and votes.raters == ("a", "b") and votes.labels == ("0", "1")
        assert votes.counts().tolist() == [[1, 1], [0, 2]]


def test_rows_of_texts_keep_their_columns(tmp_path):
    data = write(tmp_path / "d.jsonl", [
        {"id": "1", "text": "x", "annotations": {"a": -2, "b": 0, "c": -1}},
        {"id": "2", "text": "y", "annotations": {"a": 0, "b": 0}},
    ])  # fmt: skip
    layout = Layout(values={"-2": "1", "-1": "1"})
    told = run(data, layout, output=str(tmp_path / "out.jsonl"), positive="1")
    first, second = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert first["text"] == "x" and first["label"] == "1" and first["probability"] == pytest.approx(2 / 3, abs=1e-6)
    assert second["probability"] == 0 and second["probabilities"] == {"0": 1.0, "1": 0.0}
    assert told["output"]["rows"] == 2 and told["labels"] == {"0": 3, "1": 2}


def test_pairs_become_rows_of_preferences(tmp_path):
    """What is likelier is chosen; a tie counts half."""
    rows = [
        {
            "q": "why",
            "x": "good",
            "y": "bad",
            "judgements": [{"worker": str(w), "choice": c} for w, c in enumerate(said)],
        }
        for said in (["x", "x", "tie"], ["y", "y", "y"])
    ]
    data = write(tmp_path / "d.jsonl", rows)
    layout = Layout(pair=("x", "y"), choices=("x", "y", "tie"))
    run(data, layout, output=str(tmp_path / "out.jsonl"), prompt="q")
    first, second = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert (first["prompt"], first["chosen"], first["rejected"]) == ("why", "good", "bad")
    assert first["probability"] == pytest.approx(2 / 3 + 1 / 6, abs=1e-6)
    assert (second["chosen"], second["rejected"], second["probability"]) == ("bad", "good", 1.0)
    assert "judgements" not in first and "x" not in first


def test_truth_and_calibration(tmp_path):
    rows = [
        {"item": f"i{n}", "worker": w, "label": str((n + (w == "c" and n % 3 == 0)) % 2)}
        for n in range(90)
        for w in "abc"
    ]
    data = write(tmp_path / "d.jsonl", rows)
    truth = write(tmp_path / "t.jsonl", [{"item": f"i{n}", "label": n % 2} for n in range(80)])
    found = run(data, truth=truth)
    assert found["truth"]["items"] == 80 and found["truth"]["accuracy"] == 1
    assert found["least_reliable"][0]["rater"] == "c"
    mended = run(data, truth=truth, calibrate="temperature")
    assert mended["truth"]["items"] + mended["calibrated_by"]["items"] == 80
    assert mended["truth"]["log_loss"] < found["truth"]["log_loss"]


def test_what_is_wrong_is_said(tmp_path):
    few = write(
        tmp_path / "few.jsonl",
        [{"item": "1", "worker": "a", "label": None}, {"item": "1", "worker": "b", "label": "1"}],
    )
    with pytest.raises(DataRejected, match=r"few.jsonl, row 1: missing label; 1 of 2 votes are unusable"):
        read_votes(few, Layout())
    with pytest.raises(
        InputError, match="no column 'worker' for the rater; the columns are item, user, label; set --rater"
    ):
        read_votes(write(tmp_path / "n.jsonl", [{"item": 1, "user": 2, "label": 3}]), Layout(rater="worker"))
    with pytest.raises(InputError, match="--positive '7' is no label"):
        run(write(tmp_path / "p.jsonl", [{"item": i, "worker": 1, "label": i} for i in "12"]), positive="7")
    for layout, calibrate, words in (
        (Layout(), "platt", "take temperature or isotonic"),
        (Layout(), "isotonic", "needs the truth"),
        (Layout(pair=("a", "b")), None, "two or three labels"),
    ):
        with pytest.raises(InputError, match=words):
            run(few, layout, calibrate=calibrate)


def test_the_command(tmp_path):
    data = write(tmp_path / "d.jsonl", [{"item": i, "worker": w, "label": i % 2} for i in range(6) for w in "ab"])
    words = [sys.executable, "-m", "penchant", "signal", "raters", data, "--json", "--set", "smoothing=0.5"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["items"] == 6
    wrong = subprocess.run([*words[:-1], "smooth=1"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2 and "smooth" in wrong.stderr and wrong.stderr.count("\n") == 1
