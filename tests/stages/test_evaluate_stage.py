"""The evaluation stage with models that are functions: what it writes, asks, keeps and refuses."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from penchant.contracts import StageContext
from penchant.data.store import write_documents
from penchant.errors import DataRejected, InputError, Stopped
from penchant.files import write_json
from penchant.records import Document
from penchant.stages.evaluate import Machine, Options, plan, run
from penchant.text.conditioning import Conditioning
from penchant.text.segment import segment_ends
from penchant.text.tokenizer import Tokenizer

GOOD = '    """Say the value."""\n    total = value + 1\n    print(total)\n    return total\n'
BAD = "    x=1;y=2\n    return x\n"


def source(number):
    functions = "".join(f"def f{number}_{i}(value):\n{GOOD if i % 2 else BAD}\n\n" for i in range(6))
    return f"import a{number}\n\n\n{functions}".rstrip("\n") + "\n"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("evaluate")
    documents = []
    for number in range(5):
        text = source(number)
        ends = segment_ends(text, "line")
        scores = tuple(-1.0 if "=1" in line else 0.0 for line in text.splitlines())
        documents.append(Document(f"f{number}.py", text, ends, {"style": scores}))
    write_documents(root / "data" / "test.parquet", documents)
    write_json(root / "data" / "summary.json", {"signals": {"style": {"quantiles": {"0.5": 0.0}}}})
    tokenizer = Tokenizer.train([d.text for d in documents], 300)
    for role in ("mle", "conditional"):
        (root / role / "model").mkdir(parents=True)
        tokenizer.save(root / role / "model")
        (root / role / "model" / "model.safetensors").write_bytes(role.encode())
    return root, tokenizer


class Fakes:
    """Opens models that write GOOD when asked for good, BAD otherwise, and notes each request."""

    def __init__(self, tokenizer):
        self.tokenizer, self.requests, self.scored = tokenizer, [], []

    def __call__(self, folder, device):
        role = folder.parent.name

        def generate(prompts, **request):
            self.requests.append((role, prompts, request))
            found = []
            for i in range(len(prompts)):
                chance = np.random.default_rng([request["seed"], request["first"] + i]).random()
                text = (GOOD if request["insert"] else BAD) * (1 + (chance < 0.3))
                ids = tuple(self.tokenizer.encode(text))
                found.append(SimpleNamespace(ids=ids, forced=np.zeros(len(ids), bool), stop="end"))
            return found

        def logprobs(sequences):
            self.scored.append((role, sequences))
            return [np.full(len(s) - 1, -1.0 if role == "mle" else -2.0) for s in sequences]

        return Machine(generate, logprobs)


OPTIONS = {
    "models": {
        "mle": {"model": "mle"},
        "conditional": {"model": "conditional", "ask": "good"},
        "conditional_bad": {"model": "conditional", "ask": "bad"},
        "conditional_none": {"model": "conditional"},
    },
    "prompts": 12,
    "per_file": 4,
    "bootstrap": 50,
    "perplexity_tokens": 500,
    "perplexity_window": 32,
}


def evaluate(folders, folder, fakes=None, stop=lambda: 0, note=lambda text: None, **changes):
    root, tokenizer = folders
    inputs = {"data": root / "data", "mle": root / "mle", "conditional": root / "conditional"}
    folder.mkdir(exist_ok=True)
    context = StageContext("evaluate", folder, inputs, 0, 1, stop, note)
    return run(Options(**{**OPTIONS, **changes}), context, fakes or Fakes(tokenizer))


@pytest.fixture(scope="module")
def whole(folders, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    fakes = Fakes(folders[1])
    summary = evaluate(folders, folder, fakes, best_of={"mle_best": {"of": "mle", "n": 3}})
    return folder, fakes, summary, json.loads((folder / "evaluation.json").read_text())


ROWS = ["mle", "conditional", "conditional_bad", "conditional_none"]


def test_rows_and_measures(whole):
    _, _, summary, found = whole
    assert set(found["models"]) == {*ROWS, *(f"{row}_t1" for row in ROWS), "mle_best", "real"}
    assert summary == {"rows": 10, "prompts": 12, "files": 5}
    conditional, mle = found["models"]["conditional"], found["models"]["mle"]
    assert conditional["docstring_rate"]["value"] == 1
    assert conditional["violations_per_line"]["value"] < mle["violations_per_line"]["value"]
    assert conditional["violations_per_line"]["n"] == 12
    assert set(found["settings"]) >= {"temperature", "temperatures", "prompts", "seed", "distinct_bigrams", "threshold"}
    assert {(p["a"], p["b"]) for p in found["paired"]} >= {("mle", "conditional"), ("mle_t1", "conditional_t1")}


def test_perplexity_is_per_model_over_the_same_tokens(whole):
    _, fakes, _, found = whole
    models = found["models"]
    assert models["mle"]["perplexity"]["value"] == pytest.approx(np.e)
    assert models["conditional"]["perplexity"]["value"] == pytest.approx(np.e**2)
    assert models["conditional"]["perplexity_labelled"]["value"] == pytest.approx(np.e**2)
    assert "perplexity_labelled" not in models["mle"]
    assert "perplexity" not in models["conditional_bad"]
    (_, plain), (_, unlabelled), (_, labelled) = fakes.scored
    control = set(fakes.tokenizer.control_ids.values())
    assert plain == unlabelled
    assert [[i for i in ids if i not in control] for ids in labelled] == plain
    assert any(control & set(ids) for ids in labelled)


def test_requests_carry_what_the_row_asks_for(whole):
    _, fakes, _, _ = whole
    t = fakes.tokenizer
    good, bad = t.control_ids["good"], t.control_ids["bad"]
    wanted = {0: {}, 1: {t.newline_id: good}, 2: {t.newline_id: bad}, 3: {}}
    for number, (role, prompts, request) in enumerate(fakes.requests[:8]):
        assert role == ("mle" if number % 4 == 0 else "conditional")
        assert request["insert"] == wanted[number % 4]
        assert request["temperature"] == (0.7 if number < 4 else 1.0)
        assert set(request["ban"]) == {t.pad_id, good, bad}
        assert request["end"] == (t.eos_id,)
        for prompt in prompts:
            found = [i for i in prompt if i in (good, bad)]
            assert bool(found) == bool(request["insert"])
            if found:
                assert found[-1] == next(iter(request["insert"].values()))
    assert len(fakes.requests[8][1]) == 36


def test_the_real_row_is_the_document(whole):
    folder = whole[0]
    rows = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert len(rows) == 10 * 12
    real = [row for row in rows if row["row"] == "real"]
    for row in real:
        text = source(int(row["source"][1]))
        assert any(
            text[at:].startswith(row["text"]) for at in range(len(text)) if text[:at].endswith(row["prompt"][-20:])
        )
        assert row["tokens"] <= 96
    best = {row["prompt"]: row for row in rows if row["row"] == "mle_best"}
    assert len(best) == 12


def test_it_is_deterministic(whole, folders, tmp_path):
    folder = whole[0]
    evaluate(folders, tmp_path / "again", best_of={"mle_best": {"of": "mle", "n": 3}})
    for name in ("evaluation.json", "samples.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_a_stopped_run_goes_on_and_ends_the_same(whole, folders, tmp_path):
    asked = []

    def stop():
        asked.append(1)
        return 15 if len(asked) > 5 else 0

    options = {"best_of": {"mle_best": {"of": "mle", "n": 3}}}
    with pytest.raises(Stopped) as error:
        evaluate(folders, tmp_path / "run", stop=stop, **options)
    assert error.value.exit_code == 143
    done = {path.stem for path in (tmp_path / "run" / "rows").iterdir()}
    assert done and done < {*ROWS}
    fakes = Fakes(folders[1])
    evaluate(folders, tmp_path / "run", fakes, **options)
    assert len(fakes.requests) == 9 - len(done)
    for name in ("evaluation.json", "samples.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (whole[0] / name).read_bytes()


def test_other_prompts_are_not_answered_with_stored_completions(folders, tmp_path):
    evaluate(folders, tmp_path / "run", temperatures=[0.7])
    fakes = Fakes(folders[1])
    evaluate(folders, tmp_path / "run", fakes, temperatures=[0.7], prompts=10)
    assert len(fakes.requests) == 4


def test_several_documents_of_one_source(folders, tmp_path):
    root, tokenizer = folders
    documents = []
    for number in range(3):
        text = source(number) + "x = 1\n" * number
        scores = (0.0,) * len(text.splitlines())
        documents.append(Document("one.jsonl", text, segment_ends(text, "line"), {"style": scores}))
    write_documents(tmp_path / "data" / "test.parquet", documents)
    write_json(tmp_path / "data" / "summary.json", {"signals": {"style": {"quantiles": {}}}})
    inputs = {"data": tmp_path / "data", "mle": root / "mle", "conditional": root / "conditional"}
    context = StageContext("evaluate", tmp_path, inputs, 0, 1, lambda: 0, lambda text: None)
    run(Options(**OPTIONS), context, Fakes(tokenizer))
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["models"]["mle"]["reward"]["low"] is None  # one file: no interval


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": {"mle": {"model": "gone"}}}, "no input 'gone'"),
        ({"models": {"mle": {"model": "mle", "ask": "great"}}}, "no control token 'great'"),
        ({"models": {}}, "models is empty"),
        ({"models": {"real": {"model": "mle"}}}, "named real"),
        ({"best_of": {"best": {"of": "gone"}}}, "is no row"),
        ({"temperatures": [1.0, 1.0]}, "repeat"),
        ({"signal": "gone"}, "signal 'gone'"),
        ({"threshold": "q0.123"}, "quantile"),
    ],
)
def test_wrong_options_name_themselves(folders, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        evaluate(folders, tmp_path / "run", **changes)


def test_no_prompt_short_enough(folders, tmp_path):
    with pytest.raises(DataRejected, match="prompt_tokens"):
        evaluate(folders, tmp_path / "run", prompt_tokens=1)


def copied(folders, to, **tokenizers):
    """The models' folders once more, some with a tokenizer of their own."""
    for role in ("mle", "conditional"):
        shutil.copytree(folders[0] / role, to / role)
        if role in tokenizers:
            tokenizers[role].save(to / role / "model")
    shutil.copytree(folders[0] / "data", to / "data")
    return to, folders[1]


def test_windows_stay_within_what_the_models_were_trained_on(folders, tmp_path):
    root, tokenizer = copied(folders, tmp_path / "folders")
    layout = Conditioning(("good", "bad"), after=(tokenizer.newline_id,), context=20)
    layout.save(root / "conditional" / "model")
    fakes = Fakes(tokenizer)
    evaluate((root, tokenizer), tmp_path / "run", fakes, temperatures=[0.7])
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert found["settings"]["held_out"]["window"] == 20
    lengths = [len(ids) for _, sequences in fakes.scored for ids in sequences]
    assert 15 < max(lengths) <= 20


def test_models_with_different_tokenizers_are_compared_by_the_byte(folders, tmp_path):
    other = Tokenizer.train([source(0)], 270)
    root, tokenizer = copied(folders, tmp_path / "folders", mle=other)
    notes, fakes = [], Fakes(tokenizer)
    evaluate((root, tokenizer), tmp_path / "run", fakes, note=notes.append, temperatures=[0.7], prompt_tokens=99)
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    mle, conditional = found["models"]["mle"], found["models"]["conditional"]
    for figure in (mle["perplexity"], conditional["perplexity"], conditional["perplexity_labelled"]):
        assert figure["value"] is None
        assert "different tokens" in figure["reason"]
    assert "perplexity_labelled" not in mle
    assert "compare bits a byte" in found["settings"]["held_out"]["perplexity_left_out"]
    assert any("compare bits a byte" in note for note in notes)
    measured = {test["measure"] for test in found["paired"]}
    assert "bits_per_byte" in measured
    assert "perplexity" not in measured
    (_, first), (_, second), _ = fakes.scored
    assert [len(ids) for ids in first] != [len(ids) for ids in second]
    assert [other.decode(ids) for ids in first] == [tokenizer.decode(ids) for ids in second]


def test_fewer_prompts_than_asked_for_are_said(folders, tmp_path):
    notes = []
    assert evaluate(folders, tmp_path / "run", note=notes.append, prompts=99, temperatures=[0.7])["prompts"] == 20
    assert notes == ["evaluate: 20 prompts, not 99: no more within per_file and prompt_tokens"]


def test_plan(folders, tmp_path):
    context = StageContext("evaluate", tmp_path, {}, 0, 1, lambda: 0, print)
    assert plan(Options(**OPTIONS), context)["tokens"] == 8 * 12 * 168 + 2 * 2 * 500
