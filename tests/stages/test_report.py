"""The stage `report`: reads its inputs and the run around it, and writes two files."""

import json

import pytest
from pydantic import ValidationError

from penchant.contracts import StageContext
from penchant.stages import report


def context(run, inputs):
    folder = run / "stages/report"
    folder.mkdir(parents=True, exist_ok=True)
    return StageContext("report", folder, inputs, 0, 1, lambda: 0, lambda line: None)


@pytest.fixture
def finished(tmp_path):
    """A run with an evaluation, a recipe and its times."""
    evaluation = tmp_path / "stages/evaluate"
    evaluation.mkdir(parents=True)
    figure = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9, "files": 3}
    models = {"mle": {"violations_per_line": figure}, "conditional": {"violations_per_line": {**figure, "value": 0.1}}}
    (evaluation / "evaluation.json").write_text(json.dumps({"models": models}))
    (tmp_path / "recipe.json").write_text(json.dumps({"name": "mine", "seed": 3}))
    (tmp_path / "timing.json").write_text(
        json.dumps({"stages": {"p": {"kind": "prepare", "seconds": 2.0}}, "total": 2})
    )
    return tmp_path, {"evaluation": evaluation}


def test_writes_the_page_and_the_figures(finished):
    """Both files, made from the inputs and the run two levels above."""
    run, inputs = finished
    summary = report.run(report.Options(), context(run, inputs))
    found = json.loads((run / "stages/report/report.json").read_text())
    assert summary == {"rows": 2, "wanted": 2, "met": 1}
    assert found["wall_seconds"]["prepare"] == 2.0
    assert found["settings"]["recipe"]["seed"] == 3
    page = (run / "stages/report/report.html").read_text()
    assert "Penchant: mine" in page
    assert "penchant run mine seed=3" in page


def test_options(finished):
    """The heading and the time limit are options; unknown ones are refused."""
    run, inputs = finished
    report.run(report.Options(title="Mine", time_limit=1), context(run, inputs))
    found = json.loads((run / "stages/report/report.json").read_text())
    assert found["wanted"][-1]["name"] == "wall_time"
    assert "<h1>Mine</h1>" in (run / "stages/report/report.html").read_text()
    with pytest.raises(ValidationError):
        report.Options(nonsense=1)


def test_works_without_anything(tmp_path):
    """Nothing to report is a page that says so."""
    assert report.run(report.Options(), context(tmp_path, {})) == {"rows": 0, "wanted": 0, "met": 0}
