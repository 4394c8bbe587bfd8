import json

import numpy as np
import pytest

from penchant.contracts import Judgement, Mark, Measure, Spot
from penchant.errors import DataRejected, Stopped
from penchant.evaluation.completions import Written, stored
from penchant.evaluation.evaluate import Ratio, Row, evaluate, present_pairs
from penchant.evaluation.judging import judge_all, write_samples
from penchant.evaluation.prompts import choose_spots, prompts_by_way
from penchant.records import Document, Prompt

MEASURES = {"faults": Measure("faults a line", "lower"), "reward": Measure("reward", "higher")}
FILES = [str(i // 5) for i in range(100)]


def row(rate, seed=0, extra=None):
    random = np.random.default_rng(seed)
    judgements = [
        Judgement(
            {"faults": (float(random.poisson(rate * 10)), 10), "reward": (float(random.random()), 1)},
            " ".join(random.choice(60, 12).astype(str)),
            0,
        )
        for _ in FILES
    ]
    return Row(FILES, judgements, extra or {})


def test_evaluation_has_the_shape_that_the_report_reads():
    extra = {"perplexity": Ratio(np.full(9, 20.0), np.full(9, 10.0), list("abcabcabc"), np.exp)}
    rows = {
        "mle": row(0.2, 1, extra),
        "conditional": row(0.05, 2, extra),
        "mle_t1": row(0.5, 3),
        "conditional_t1": row(0.4, 4),
    }
    found = evaluate(rows, MEASURES, resamples=200)
    json.dumps(found, allow_nan=False)
    assert set(found["models"]) == set(rows)
    for name, figures in found["models"].items():
        assert set(figures) == {"faults", "reward", "distinct_2"} | ({"perplexity"} if "_" not in name else set())
        for figure in figures.values():
            assert set(figure) >= {"value", "low", "high", "n", "files"}
            assert figure["low"] <= figure["value"] <= figure["high"]
    assert found["models"]["mle"]["faults"]["n"] == 100
    assert found["models"]["mle"]["faults"]["files"] == 20
    assert found["models"]["mle"]["perplexity"]["value"] == pytest.approx(np.exp(2))
    assert set(found["measures"]) == {"faults", "reward", "distinct_2", "perplexity"}
    assert {(p["a"], p["b"]) for p in found["paired"]} == {("mle", "conditional"), ("mle_t1", "conditional_t1")}
    first = next(p for p in found["paired"] if p["measure"] == "faults")
    assert first["difference"] == pytest.approx(
        found["models"]["conditional"]["faults"]["value"] - found["models"]["mle"]["faults"]["value"]
    )
    assert first["high"] < 0
    assert first["p"] < 0.05


def test_distinct_looks_at_the_same_number_in_all_rows():
    short = Row(FILES[:10], row(0.1).judgements[:10])
    found = evaluate({"mle": row(0.1), "real": short}, MEASURES, resamples=20)
    assert found["distinct_bigrams"] == 10 * 11 // 2
    assert {found["models"][name]["distinct_2"]["size"] for name in ("mle", "real")} == {55}


def test_a_row_that_wrote_nothing_is_reported_and_does_not_stop_the_others():
    nothing = Row(FILES, [Judgement({"faults": (0, 0), "reward": (0, 1)}, "", 0)] * 100)
    found = evaluate({"mle": row(0.1), "conditional": nothing}, MEASURES, resamples=20)
    assert found["models"]["conditional"]["faults"]["value"] is None
    assert found["models"]["conditional"]["distinct_2"]["value"] is None
    assert found["models"]["mle"]["distinct_2"]["value"] > 0
    json.dumps(found, allow_nan=False)


def test_evaluation_is_seeded():
    rows = {"mle": row(0.1)}
    assert evaluate(rows, MEASURES, resamples=50) == evaluate(rows, MEASURES, resamples=50)


def test_pairs_take_each_suffix():
    rows = ["mle", "tuned", "mle_t1", "tuned_t1", "mle_t0.5", "tuned_t0.5", "real", "a_tall"]
    assert present_pairs([("mle", "tuned"), ("mle", "gone")], rows) == [
        ("mle", "tuned"),
        ("mle_t1", "tuned_t1"),
        ("mle_t0.5", "tuned_t0.5"),
    ]


class EveryTen:
    def spots(self, document):
        return [Spot(end) for end in range(10, len(document.text), 10)]

    def judge(self, prompt, text, stop):
        return Judgement({"reward": (float(text.count("a")), 1)}, text, len(text), (Mark(1, "X", "x"),))


def make(document, spot):
    return Prompt((1,), document.text[: spot.end], document.source, {"end": spot.end})


DOCUMENTS = [Document(name, "x" * 200) for name in "abc"]


def test_few_prompts_from_one_file_and_the_choice_stays_when_files_are_added():
    places = choose_spots(DOCUMENTS, EveryTen(), 5, seed=0)
    assert len(places) == 15
    again = choose_spots([*DOCUMENTS, Document("d", "x" * 200)], EveryTen(), 5, seed=0)
    assert {(d.source, s.end) for d, s in places} < {(d.source, s.end) for d, s in again}
    prompts = prompts_by_way(places, [make], 8)[0]
    assert len(prompts) == 8
    order = [(p.source, p.columns["end"]) for p in prompts]
    assert order == sorted(order)


def test_only_places_that_every_way_can_make():
    def odd(document, spot):
        return make(document, spot) if spot.end % 20 else None

    first, second = prompts_by_way(choose_spots(DOCUMENTS, EveryTen(), 99, seed=0), [make, odd], 99)
    assert [p.text for p in first] == [p.text for p in second]
    assert all(p.columns["end"] % 20 for p in first)


def test_no_prompts_are_refused():
    with pytest.raises(DataRejected, match="no prompt"):
        choose_spots([Document("a", "")], EveryTen(), 5, seed=0)
    with pytest.raises(DataRejected, match="longer"):
        prompts_by_way(choose_spots(DOCUMENTS, EveryTen(), 5, seed=0), [lambda d, s: None], 5)


def test_the_best_of_several_is_kept():
    prompts = [make(DOCUMENTS[0], Spot(10)), make(DOCUMENTS[0], Spot(20))]
    written = [Written(text, "end", 1) for text in ("a", "aa", "aa", "b", "", "b")]
    judged, kept = judge_all(EveryTen(), prompts, written)
    assert [one.text for one in kept] == ["aa", "b"]
    assert kept[0] is written[1]
    assert [j.measures["reward"][0] for j in judged] == [2, 0]


def test_stored_completions_are_taken_only_under_their_key(tmp_path):
    path, made = tmp_path / "rows" / "mle.jsonl", []

    def make_them():
        made.append(1)
        return [Written("a\u2028b\x85\n", "end", 3), Written("", "length", 0)]

    first = stored(path, "k", make_them)
    assert stored(path, "k", make_them) == first
    assert len(made) == 1
    stored(path, "other", make_them)
    assert len(made) == 2
    path.write_text(path.read_text()[:-20])  # torn
    assert stored(path, "other", make_them) == first
    assert len(made) == 3


def test_a_row_that_is_stopped_leaves_nothing(tmp_path):
    def stop():
        raise Stopped(15)

    with pytest.raises(Stopped):
        stored(tmp_path / "mle.jsonl", "k", stop)
    assert list(tmp_path.iterdir()) == []


def test_samples_are_one_line_each_whatever_they_hold(tmp_path):
    prompts = [make(DOCUMENTS[0], Spot(10))]
    written = {"mle": [Written("a\u2028\x85", "end", 2)]}
    judged = {"mle": judge_all(EveryTen(), prompts, written["mle"])[0]}
    write_samples(tmp_path / "samples.jsonl", {"mle": prompts}, lambda name: name, judged, written)
    lines = (tmp_path / "samples.jsonl").read_text().splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0]) == {
        "row": "mle",
        "source": "a",
        "prompt": "x" * 10,
        "text": "a\u2028\x85",
        "stop": "end",
        "measures": {"reward": [1, 1]},
        "marks": [[1, "X", "x"]],
        "tokens": 2,
    }
