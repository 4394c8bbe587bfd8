"""The frontier: samples judged, KL by hand, who beats whom, and the whole stage with models that are functions."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from penchant.contracts import StageContext
from penchant.errors import InputError
from penchant.files import write_json
from penchant.stages._frontier import on_frontier
from penchant.stages.frontier import Machine, Options, run
from penchant.text.conditioning import Conditioning
from penchant.text.tokenizer import Tokenizer

GOOD, BAD = "x = 1\ny = 2\n", "x=1\ny = 2\nunfinished=("


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frontier")
    tokenizer = Tokenizer.train([GOOD + BAD], 300)
    for role in ("reference", "plain", "asked"):
        (folder / role / "model").mkdir(parents=True)
        tokenizer.save(folder / role / "model")
        control = ("good", "bad") if role == "asked" else ()
        Conditioning(control, "line", after=(tokenizer.newline_id,)).save(folder / role / "model")
    write_json(folder / "data" / "summary.json", {"segment": "line"})
    return folder, tokenizer


def measure(root, folder, seen=None, **changes):
    """Models whose log-probs are constants: -1 a token of the reference's, -1.5 of `plain`'s, -1.2 of `asked`'s."""
    at, tokenizer = root
    level = {"reference": -1.0, "plain": -1.5, "asked": -1.2}

    def opened(model, device):
        role = model.parent.name

        def generate(prompts, **request):
            if seen is not None:
                seen.append((role, prompts[0], request))
            text, stop = (GOOD, "end") if role == "asked" else (BAD, "length")
            ids = tuple(tokenizer.encode(text))
            return [SimpleNamespace(ids=ids, forced=np.zeros(len(ids), bool), stop=stop) for _ in prompts]

        def logprobs(rows):
            if seen is not None:
                seen.append((role, rows, None))
            return [np.full(len(ids) - 1, level[role]) for ids in rows]

        return Machine(generate, logprobs)

    folder.mkdir(exist_ok=True)
    inputs = {"data": at / "data", **{role: at / role for role in level}}
    models = {"mle": {"model": "plain"}, "conditional": {"model": "asked", "ask": "good"}}
    given = {
        "models": models,
        "signal": {"name": "style", "docstrings": False},
        "samples": 6,
        "kl_samples": 5,
        "bootstrap": 50,
    }
    context = StageContext("frontier", folder, inputs, 0, 1, lambda: 0, lambda text: None)
    summary = run(Options(**{**given, **changes}), context, opened)
    return summary, json.loads((folder / "frontier.json").read_text())


def test_figures(root, tmp_path):
    summary, found = measure(root, tmp_path)
    mle, conditional = found["models"]["mle"], found["models"]["conditional"]
    whole = "x=1\ny = 2\n"  # the unfinished line is not judged: one violation (E225) in ten characters
    assert mle["misalignment"]["value"] == pytest.approx(100 / len(whole))
    assert conditional["misalignment"]["value"] == 0
    assert mle["kl"]["value"] == pytest.approx(0.5) and conditional["kl"]["value"] == pytest.approx(0.2)
    assert (mle["frontier"], conditional["frontier"]) == (0.0, 1.0)
    assert summary == {"rows": 2, "frontier": ["conditional"]}
    page = (tmp_path / "frontier.html").read_text()
    assert page.count("<svg") == 1 and "conditional" in page and "://" not in page.replace("http://www.w3.org", "")
    rows = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert len(rows) == 12 and rows[0]["text"] == whole


def test_control_tokens_lead_each_line_and_are_not_counted(root, tmp_path):
    seen = []
    measure(root, tmp_path, seen)
    tokenizer = root[1]
    good = tokenizer.control_ids["good"]
    (_, first, request) = next(x for x in seen if x[0] == "asked" and x[2] is not None)
    assert first == [tokenizer.eos_id, good] and request["insert"] == {tokenizer.newline_id: good}
    assert request["temperature"] == 0.7 and request["top_p"] == 0.9
    (_, rows, _) = next(x for x in seen if x[0] == "asked" and x[2] is None)
    expected = [tokenizer.eos_id, good]
    for i in tokenizer.encode(BAD):
        expected += [i, good] if i == tokenizer.newline_id else [i]
    assert rows == [expected] * 5


def test_a_second_judge_stands_beside(root, tmp_path):
    _, found = measure(root, tmp_path, judge="readability")
    assert {"misalignment", "judge", "kl", "frontier"} == set(found["models"]["mle"])
    assert "readability" in found["help"]["judge"]


def test_who_is_on_the_frontier():
    """By sums over samples: a is best in one, b in the other, c is beaten by both, d only by chance."""
    rng = np.random.default_rng(0)
    one = np.ones(200)

    def row(bad, kl):
        return {"misalignment": (rng.normal(bad, 0.1, 200), one), "kl": (rng.normal(kl, 0.1, 200), one)}

    found = on_frontier({"a": row(0.2, 0.9), "b": row(0.9, 0.2), "c": row(1.2, 1.2), "d": row(0.21, 0.91)}, 200)
    assert found["a"] > 0.95 and found["b"] == 1 and found["c"] == 0
    assert found["d"] < 0.9


def test_what_is_refused(root, tmp_path):
    with pytest.raises(InputError, match="no input 'gone' for a model"):
        measure(root, tmp_path / "a", models={"x": {"model": "gone"}})
    with pytest.raises(InputError, match="no control token 'good'"):
        measure(root, tmp_path / "b", models={"x": {"model": "plain", "ask": "good"}})
    with pytest.raises(InputError, match="no signal named 'stile'"):
        measure(root, tmp_path / "c", signal="stile")
    other = root[0] / "other" / "model"
    other.mkdir(parents=True, exist_ok=True)
    Tokenizer.train(["something else entirely"], 290).save(other)
    inputs = {"data": root[0] / "data", "reference": root[0] / "reference", "x": root[0] / "other"}
    context = StageContext("frontier", tmp_path, inputs, 0, 1, lambda: 0, lambda text: None)
    with pytest.raises(InputError, match="cut text into other tokens"):
        run(Options(models={"x": {"model": "x"}}), context, lambda folder, device: None)
