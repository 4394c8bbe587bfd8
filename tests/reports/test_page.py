"""report.html: one self-contained, deterministic, safe page with everything that a run has, and no more."""

import json
import re
from html.parser import HTMLParser

import pytest
from fakes import FIGURES, MEASURES, fake_run, write

from penchant.reports.build import write_report

VOID = {"meta", "link", "br", "img", "hr", "input", "col"}


class Balanced(HTMLParser):
    """Collects ids and attributes, and fails on tags that do not close."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.attributes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def html(run, tmp_path_factory):
    folder, inputs = run
    place = tmp_path_factory.mktemp("report")
    write_report(inputs, place, run=folder)
    return (place / "report.html").read_text(encoding="utf-8")


def parsed(html):
    page = Balanced()
    page.feed(html)
    assert page.open == []
    return page


def test_well_formed_with_ids_of_their_own(html):
    """Every tag closes, and no id stands twice although many pictures share the page."""
    page = parsed(html)
    assert len(page.ids) == len(set(page.ids))
    used = set(re.findall(r"url\(#([^)]+)\)", html)) | set(re.findall(r'href="#([^"]+)"', html))
    assert used <= set(page.ids)


def test_self_contained(html):
    """No address, no script, nothing fetched, no date."""
    assert "http" not in re.sub(r"http-equiv", "", html)
    assert "<script" not in html
    assert "<img" not in html
    assert not re.search(r"src=|@import|url\((?!#)", html)
    assert "Content-Security-Policy" in html
    assert not re.search(r"\b20\d\d-\d\d-\d\d", html)


def test_follows_the_theme(html):
    """Pictures take their colours from the page, for light and dark; there is a viewport for the phone."""
    assert "prefers-color-scheme: dark" in html
    assert "var(--row-tuned)" in html
    assert "#0102" not in html
    assert 'name="viewport"' in html


def test_says_everything(html):
    """Sections, rows, measures, marks, causes, limits, and how to get it again."""
    sections = ("done", "comparison", "wanted", "frontier", "temperature-1", "measures", "learning", "samples", "codes")
    for name in (*sections, "style-alone", "data", "limits", "time", "reproduce"):
        assert f'<section id="{name}">' in html, name
    for words in ("Plain (MLE)", "Conditional, asked for bad", "Real text", "0.195", "0.172 to 0.220", "E225"):
        assert words in html
    assert "Near duplicate" in html
    assert "penchant run quickstart seed=0" in html
    assert "KL to the start" in html
    assert 'title="E225 missing whitespace around operator"' in html


def test_samples_are_escaped(html):
    """What a model writes is text, whatever it looks like."""
    assert "&lt;script&gt;" in html


def test_deterministic(run, tmp_path, monkeypatch):
    """The same run gives the same page, but for the report's own time."""
    # The page shows how long it took to make; with the clock stopped nothing else may differ.
    monkeypatch.setattr("penchant.reports.build.time.monotonic", lambda: 0.0)
    folder, inputs = run
    pages = []
    for name in ("a", "b"):
        write_report(inputs, tmp_path / name, run=folder)
        text = (tmp_path / name / "report.html").read_text(encoding="utf-8")
        pages.append(re.sub(r'<section id="time">.*?</section>', "", text, flags=re.DOTALL))
    assert pages[0] == pages[1]


def test_without_tuning_and_with_nulls(tmp_path):
    """A run that tuned nothing, and whose plain model wrote nothing that could be judged."""
    inputs = fake_run(tmp_path, tuned=False, nulls=True)
    found = write_report(inputs, tmp_path / "out", run=tmp_path)
    text = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    parsed(text)
    assert "KL to the start" not in text
    assert "not measured" in text
    assert {w["met"] for w in found["wanted"] if w["name"].startswith("tuned")} == {None}


@pytest.mark.parametrize("left", [(), ("data",), ("evaluation",), ("mle", "tuned")])
def test_with_parts_of_a_run(run, tmp_path, left):
    """Any input may be missing."""
    _, inputs = run
    write_report({role: inputs[role] for role in left}, tmp_path)
    parsed((tmp_path / "report.html").read_text(encoding="utf-8"))


def test_another_task(tmp_path):
    """Prose: other measures, no marks, rows of other names; nothing of house style is said."""
    measures = {
        "readability": {"help": "Flesch reading ease", "better": "higher"},
        "reward": {"help": "readability from 0 to 1", "better": "higher"},
        "perplexity": {"help": "perplexity of held-out text", "better": "lower"},
    }
    figure = {"value": 61.5, "low": 58.0, "high": 64.25, "n": 100, "files": 10}
    rows = {row: dict.fromkeys(measures, figure) for row in ("mle", "conditional", "mle_best_of_8")}
    settings = {"temperature": 0.7, "primary": "readability"}
    write(tmp_path / "e/evaluation.json", {"models": rows, "paired": [], "measures": measures, "settings": settings})
    found = write_report({"evaluation": tmp_path / "e"}, tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    parsed(text)
    assert "Mle best of 8" in text
    assert "61.50" in text
    assert "pycodestyle" not in text
    assert found["wanted"] == []


def test_perplexity_that_was_left_out_gives_its_reason(tmp_path):
    """Models with different tokenizers: bits a byte stand in the table and the frontier, and the page says why."""
    inputs = fake_run(tmp_path)
    path = inputs["evaluation"] / "evaluation.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    for row in found["models"].values():
        if "perplexity" in row:
            row["perplexity"] |= {"value": None, "low": None, "high": None, "reason": "different tokens"}
    del found["measures"]["perplexity"]
    found["settings"]["held_out"] = {"perplexity_left_out": "the models cut text into different tokens"}
    path.write_text(json.dumps(found), encoding="utf-8")
    made = write_report(inputs, tmp_path / "out", run=tmp_path)
    text = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    parsed(text)
    assert made["models"]["mle"]["perplexity"]["reason"] == "different tokens"
    assert "The models cut text into different tokens." in text
    assert "against the bits a byte of held-out text" in text
    assert "Perplexity between models" not in text
    assert "Bits a byte" in text.partition('<section id="comparison">')[2].partition("</section>")[0]


def test_fakes_are_complete():
    """The made-up figures are as many as the measures."""
    assert {len(values) for values in FIGURES.values()} == {len(MEASURES)}
