"""report.json: every figure, what was wanted, and the times."""

import json
import math

import numpy as np
import pytest

from penchant.reports.build import write_report
from penchant.reports.figures import clean, figures, wall_seconds
from penchant.reports.gather import Training, gather
from penchant.reports.plots import against, learning
from penchant.reports.rows import change, duration, number, ordered, primary
from penchant.reports.samples import choose, marks_by_code
from penchant.reports.story import tiles
from penchant.reports.tables import headline
from penchant.reports.wanted import judge_wanted

KINDS = ["prepare", "tokenizer", "pretrain", "tune", "evaluate", "report", "total"]


@pytest.fixture(scope="module")
def found(run, tmp_path_factory):
    folder, inputs = run
    place = tmp_path_factory.mktemp("report")
    write_report(inputs, place, run=folder)
    return json.loads((place / "report.json").read_text(encoding="utf-8"))


def test_models(found):
    """Rows by measures, with intervals and counts; temperature 1 beside."""
    for row in ("mle", "conditional", "tuned", "conditional_bad", "conditional_none", "real", "mle_t1"):
        for measure in ("violations_per_line", "parse_rate", "reward", "docstring_rate", "distinct_2"):
            assert set(found["models"][row][measure]) == {"value", "low", "high", "n", "files"}
    assert found["models"]["tuned"]["perplexity"]["value"] == pytest.approx(10.46)
    assert {"a", "b", "measure", "difference", "low", "high", "p"} == set(found["paired"][0])


def test_times(found):
    """All keys; models pretrained at once take as long as the longest."""
    assert list(found["wall_seconds"]) == KINDS
    assert found["wall_seconds"]["pretrain"] == 223.4
    assert found["wall_seconds"]["total"] == pytest.approx(346.9 + found["wall_seconds"]["report"], abs=0.01)


def test_times_of_a_report_made_again():
    """The earlier report's time leaves the total."""
    timing = {"stages": {"report": {"kind": "report", "seconds": 4.0}}, "total": 104.0}
    assert wall_seconds(timing, 3.0)["total"] == 103.0
    assert wall_seconds({}, 1.0) == {**dict.fromkeys(KINDS), "report": 1.0}


def test_training(found):
    """Steps, tokens, and final losses of each stage."""
    assert found["training"]["mle"]["steps"] == 1400
    assert found["training"]["mle"]["content_tokens"] == 1400 * 2048
    assert found["training"]["mle"]["final_loss"] < 3
    assert found["training"]["tuned"]["final_kl"] == pytest.approx(0.1383, abs=1e-3)
    assert found["data"]["documents"]["kept"] == 434
    assert found["settings"]["evaluation"]["split"] == "test"
    assert found["settings"]["recipe"]["seed"] == 0


def test_wanted(found):
    """Each threshold of the experiment with the figure got, by hand."""
    got = {item["name"]: (item["got"], item["met"]) for item in found["wanted"]}
    assert got["conditional_fewer_violations"] == (pytest.approx(100 * (0.195 - 0.066) / 0.195), True)
    assert got["conditional_intervals_apart"] == (pytest.approx(0.88 * 0.195 - 1.13 * 0.066), True)
    assert got["tuned_reward"] == (pytest.approx((0.639 - 0.268) / (1 - 0.268)), True)
    assert got["tuned_perplexity"] == (pytest.approx(100 * (10.46 / 9.91 - 1)), True)
    assert got["tuned_distinct_2"] == (pytest.approx(100 * (1 - 0.577 / 0.601)), True)
    assert got["tuned_parse_rate"] == (pytest.approx(0.23), True)
    assert got["wall_time"][1] is True
    assert len(got) == 10


def test_misses_are_misses():
    """A figure on the wrong side is a miss, an unknown one neither."""
    models = {
        "mle": {"violations_per_line": {"value": 0.2, "low": 0.1, "high": 0.3}},
        "conditional": {
            "violations_per_line": {"value": 0.15, "low": 0.1, "high": 0.2},
            "distinct_2": {"value": 0.5},
        },
        "tuned": {"violations_per_line": {"value": 0.15}, "distinct_2": {"value": None}},
    }
    met = {item["name"]: item["met"] for item in judge_wanted(models, 500.0, 480)}
    assert met["conditional_fewer_violations"] is False
    assert met["conditional_intervals_apart"] is False
    assert met["tuned_fewer_violations"] is False
    assert met["tuned_distinct_2"] is None
    assert met["wall_time"] is False


def test_headline_marks_only_what_a_test_is_sure_of(found):
    """Arrows: better and worse where the paired interval leaves out 0, none without a test."""
    table = headline(found, hot=False)
    names = [head["name"] for head in table["heads"]]
    cells = {row["label"]: dict(zip(names, row["cells"], strict=True)) for row in table["rows"]}
    assert cells["Tuned"]["violations_per_line"]["verdict"] == "better"
    assert cells["Tuned"]["perplexity"]["verdict"] == "worse"
    assert cells["Tuned"]["distinct_2"]["verdict"] == ""
    assert cells["Real text"]["violations_per_line"]["verdict"] == ""
    assert table["rows"][-1]["label"] == "Real text"


def test_samples_stand_side_by_side():
    """Prompts that every row continued, at even distances; marks on their lines, others beside."""
    rows = [
        {"row": row, "source": "a.py", "prompt": f"def f{i}():\n", "text": "    x=1\n    y\n", "marks": marks}
        for i in range(10)
        for row, marks in (("real", []), ("mle", [[0, "D1", "no docstring"], [1, "E225", "spaces"]]), ("mle_t1", []))
    ]
    rows = [*rows[:-1], {"row": "mle", "source": "b.py", "prompt": "alone", "text": "", "marks": []}]
    picked = choose(rows, 2, 5, None)
    assert [c.prompt for c in picked] == ["def f2():", "def f7():"]
    assert [card.label for card in picked[0].cards] == ["Plain (MLE)", "Real text"]
    card = picked[0].cards[0]
    assert card.loose == [("D1", "no docstring")]
    assert card.lines[0].marks == (("E225", "spaces"),)
    assert choose([], 3, 5, None) == []


def test_codes_are_counted_by_row():
    """Rates a hundred completions where no lines are counted."""
    rows = [{"row": "mle", "marks": [[1, "E1", "m"], [2, "E1", "m"]]}, {"row": "real", "marks": []}]
    names, codes = marks_by_code(rows, None)
    assert names == ["mle", "real"]
    assert codes == [{"code": "E1", "message": "m", "rates": [200.0, 0.0]}]


def test_numbers_for_people():
    """Signs, digits and durations."""
    assert [number(v) for v in (0.06649, 9.819, 1400, None, math.nan, -0.5, 12345.6)] == [
        *("0.066", "9.82", "1\u202f400", "–", "–", "−0.500", "12\u202f346")
    ]
    assert [duration(v) for v in (3.14, 59.4, 59.7, 345.2, 480, 7260, None)] == [
        *("3.1 s", "59 s", "1 min", "5 min 45 s", "8 min", "2 h 1 min", "–")
    ]
    assert change(0.2, 0.1) == "−50 %"
    assert change(0, 1) == change(None, 1) == ""
    assert ordered(["real", "new", "tuned", "mle"]) == ["mle", "tuned", "new", "real"]
    assert primary({"perplexity": {"better": "lower"}, "x": {"better": "higher"}}, {}) == "x"
    assert primary({"x": {"better": "higher"}, "y": {}}, {"primary": "y"}) == "y"


def test_json_holds_no_nan():
    """What JSON cannot hold becomes null."""
    assert clean({"a": [math.inf, (1.0, math.nan)], 1: np.float64("nan")}) == {"a": [None, [1.0, None]], "1": None}


def test_curves_need_figures():
    """A metric that no stage logged has no picture."""
    stage = Training([{"step": 1, "loss": None}, {"step": 2}])
    assert learning({"mle": stage}, ("loss", "eval_loss"), "Loss", "x") is None


def test_a_tunings_time_and_passes_and_last_rollout(tmp_path):
    """Sampling and rewarding apart from training; the best, the median and the worst of the newest rollout."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {"step": 1, "reward": 0.1, "kl": 0.0, "sampling_seconds": 2.0, "reward_seconds": 0.5, "step_seconds": 4.0},
        {"step": 2, "reward": 0.3, "kl": 0.1, "step_seconds": 1.0, "eval_pass@1": 0.25, "eval_pass@4": 0.5},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "rollouts").mkdir()
    for step, rewards in ((9, [9.0]), (10, [0.5, float("nan"), 2.0, -1.0])):
        n = len(rewards)
        table = {"prompt": ["p"] * n, "completion": [f"text {r}" for r in rewards], "reward": rewards,
                 "rewards.style": rewards}  # fmt: skip
        pq.write_table(pa.table(table), tmp_path / "rollouts" / f"{step}.parquet")
    stage = gather({"tuned": tmp_path}).training["tuned"]
    assert stage.seconds() == {"sampling": 2.0, "rewarding": 0.5, "training": 2.5}
    assert [(r.step, r.kind, r.reward, r.parts) for r in stage.rollouts] == [
        (10, "best", 2.0, {"style": 2.0}), (10, "typical", 0.5, {"style": 0.5}), (10, "worst", -1.0, {"style": -1.0}),
    ]  # fmt: skip
    found = figures(gather({"tuned": tmp_path}), 0.0, None)["training"]["tuned"]
    assert found["final_eval_pass@4"] == 0.5 and found["seconds"]["training"] == 2.5
    drawn = against({"tuned": stage}, "kl", "reward", "x")
    assert drawn is not None and "against" in drawn
    assert against({"tuned": stage}, "entropy", "reward", "x") is None


def test_a_tile_says_by_how_much_where_that_can_be_said():
    def note(before):
        rows = {"conditional": {"reward": {"value": before}}, "tuned": {"reward": {"value": 0.5}}}
        return tiles({"models": rows, "wanted": [], "wall_seconds": {}}, None)[0]["note"]

    assert note(0.25) == "+100 %: Tuned against Conditional, asked for good"
    assert note(0.0) == "Tuned against Conditional, asked for good"
