"""The pretraining stage: any objective by name, options or path, and what is kept beside the model."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from penchant.contracts import StageContext
from penchant.data.store import read_documents, write_documents
from penchant.errors import InputError, OptionError, Stopped
from penchant.policy import load
from penchant.records import Document
from penchant.runs.planning import plan
from penchant.runs.recipe import load_recipe
from penchant.stages import tune
from penchant.stages.pretrain import Options, run
from penchant.text.conditioning import Conditioning
from penchant.text.control import Bins
from penchant.text.segment import segment_ends
from penchant.text.tokenizer import Tokenizer

TEXT = "Mr. Bell went out. The dog barked! Did he hear it? No one knows.\n\n“It is late,” he said. The men left.\n"
OWN = '''\
"""Likelihood of the text, each segment weighted by whether its score is high; documents without a high one left out."""

import numpy as np
from pydantic import BaseModel

from penchant.objectives.mle import Mle
from penchant.records import Encoded


class Options(BaseModel, extra="forbid"):
    """How much the others weigh."""

    signal: str = "none"
    low: float = 1.0
    least: float = -9.0


class Weighted(Mle):
    def __init__(self, options, tokenizer):
        self.options, self.tokenizer = options, tokenizer

    def transform(self, document, number, heldout):
        scores = document.scores[self.options.signal]
        if max(scores) < self.options.least and not heldout:
            return None
        pieces = self.tokenizer.encode_batch(document.segments())
        ids = np.array([i for piece in pieces for i in piece])
        weights = [1.0 if score >= 0 else self.options.low for score in scores]
        weight = np.repeat(weights, [len(piece) for piece in pieces])
        return Encoded(ids, np.zeros(len(ids), bool), {"weight": weight})


def build(options, context):
    return Weighted(options, context.tokenizer)
'''


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Prepared folders by line and by sentence, with a tokenizer."""
    root = tmp_path_factory.mktemp("pretrain")
    tokenizer = Tokenizer.train([TEXT], 300)
    tokenizer.save(root / "tokenizer")
    for unit in ("line", "sentence"):
        for split in ("train", "validation"):
            documents = []
            for number in range(4):
                text = TEXT * (2 + number)
                ends = segment_ends(text, unit)
                scores = tuple(float(-(i % 2)) if number else -2.0 for i in range(len(ends)))
                documents.append(Document(f"{number}.txt", text, ends, {"style": scores}))
            write_documents(root / unit / f"{split}.parquet", documents)
        summary = {"segment": unit, "languages": {"en": 3, "de": 1}, "signals": {}}
        summary["signals"] = {"style": {"quantiles": {"0.5": -1}, "document_quantiles": {"0.5": -1}}}
        (root / unit / "summary.json").write_text(json.dumps(summary))
    return root


MODEL = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
         "num_key_value_heads": 2}  # fmt: skip
SETTINGS = {"steps": 4, "batch_size": 4, "context": 32, "model": MODEL, "eval_steps": 2, "eval_tokens": 200,
            "save_steps": 2, "sample_tokens": 8}  # fmt: skip


def pretrain(data, folder, unit="line", notes=None, **changes):
    folder.mkdir(exist_ok=True)
    inputs = {"data": data / unit, "tokenizer": data / "tokenizer"}
    note = (lambda text: None) if notes is None else notes.append
    return run(Options(**{**SETTINGS, **changes}), StageContext("model", folder, inputs, 1, 1, lambda: 0, note))


def weights(folder):
    return (folder / "model" / "model.safetensors").read_bytes()


def test_options_of_an_objective_stand_beside_its_name_or_come_from_the_stage(data, tmp_path):
    found = [
        pretrain(data, tmp_path / "a", objective="conditional", threshold="median", drop=0.3),
        pretrain(data, tmp_path / "b", objective={"name": "conditional", "threshold": "median", "drop": 0.3}),
        pretrain(data, tmp_path / "c", objective={"name": "conditional", "threshold": 0.0}, threshold="median"),
    ]
    assert [one["threshold"] for one in found] == [-1, -1, 0]
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")


def test_an_objective_of_the_users_own(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_objective.py").write_text(OWN)
    own, notes = "./my_objective.py", []
    plain, same = (pretrain(data, tmp_path / Path(name).stem, objective=name) for name in ("mle", own))
    assert same["objective"] == own
    assert same["best_eval_loss"] == pytest.approx(plain["best_eval_loss"], rel=1e-3)  # every weight is 1
    low = pretrain(data, tmp_path / "low", objective={"name": own, "low": 0.1})
    assert low["best_eval_loss"] != pytest.approx(plain["best_eval_loss"], rel=1e-3)
    found = pretrain(data, tmp_path / "few", objective={"name": own, "least": -1.0}, notes=notes)
    assert found["documents"] == 3
    assert f"model: objective {own} leaves out 1 of 4 documents" in notes
    rows = [json.loads(line) for line in (tmp_path / "low" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["eval_loss"] > 0 < rows[-1]["bits_per_byte"]
    assert Conditioning.load(tmp_path / "low" / "model", Tokenizer.load(data / "tokenizer")).control == ()


def test_a_recipe_takes_an_objective_by_path_and_its_changes_are_seen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_objective.py").write_text(OWN)
    given = ["mle.objective.name=./my_objective.py", "mle.objective.low=0.5"]
    recipe = load_recipe("smoke", given, environment={})
    assert recipe.stages["mle"].options.objective == {"name": "./my_objective.py", "low": 0.5}


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        ("condtional", r"conditional\.objective.*did you mean 'conditional'"),
        ("./gone.py", r"gone\.py: no such file"),
        ({"name": "conditional", "dorp": 1}, "option dorp.*its options are signal, threshold, drop"),
        ({"drop": 1}, "needs a name"),
    ],
)
def test_a_wrong_objective_is_refused_before_anything_runs(objective, words):
    givens = [f"conditional.objective={json.dumps(objective)}"]
    with pytest.raises(OptionError, match=words) as caught:
        load_recipe("smoke", givens, environment={})
    assert "\n" not in str(caught.value)


def test_an_objective_that_a_corpus_cannot_feed_is_refused(data, tmp_path):
    with pytest.raises(InputError, match="policy_gradient needs advantages, rollout_logprobs"):
        pretrain(data, tmp_path / "a", objective="policy_gradient")
    with pytest.raises(InputError, match="signal 'taste'"):
        pretrain(data, tmp_path / "b", objective={"name": "conditional", "signal": "taste"})


def test_a_model_by_sentences_is_asked_by_sentences(data, tmp_path):
    pretrain(data, tmp_path / "model", "sentence", objective="conditional")
    policy = load(tmp_path / "model")
    said, tokenizer = policy.layout, policy.tokenizer
    assert (said.control, said.segment, said.language, said.context) == (("good", "bad"), "sentence", "en", 32)
    assert {" ", "\n"} <= {tokenizer.decode([i]) for i in said.after}
    assert said.agreement["recall"] == 1
    good, end = tokenizer.control_ids["good"], tokenizer.eos_id
    one, two = (tokenizer.encode(text) for text in ("He left. ", "He"))
    assert policy._prompt("He left. He", "good") == [end, good, *one, good, *two]
    assert policy._prompt("He left. ", "good") == [end, good, *one, good]
    assert policy._prompt("", "good") == [end, good]
    assert [len(scores) for scores in policy.score(["He left. It is late. Wh"], "readability")] == [3]
    assert len(policy.generate("He left. ", max_new_tokens=4, ask="good")) == 1
    inputs = {"data": data / "line", "model": tmp_path / "model"}
    options = tune.Options(task={"name": "continuation", "signal": {"name": "readability"}, "min_chars": 10})
    with pytest.raises(InputError, match=r"lead each sentence, and the data are cut by line"):
        tune.run(options, StageContext("tuned", tmp_path / "tuned", inputs, 1, 1, lambda: 0, lambda text: None))


def test_tuning_forces_tokens_after_sentences_and_hands_on_what_the_model_knows(data, tmp_path):
    pretrain(data, tmp_path / "model", "sentence", objective="conditional")
    settings = {"steps": 1, "batch_size": 4, "num_generations": 2, "max_completion_length": 24, "eval_prompts": 1,
                "prompt_tokens": 20, "max_clipped_ratio": 1.0, "rewards": [{"name": "length"}]}  # fmt: skip
    task = {"name": "continuation", "signal": {"name": "readability"}, "min_chars": 10, "segments": "sentence"}
    (tmp_path / "tuned").mkdir()
    inputs = {"data": data / "sentence", "model": tmp_path / "model"}
    context = StageContext("tuned", tmp_path / "tuned", inputs, 1, 1, lambda: 0, lambda text: None)
    tune.run(tune.Options(task=task, **settings), context)
    tokenizer = Tokenizer.load(data / "tokenizer")
    before, after = (Conditioning.load(tmp_path / name / "model", tokenizer) for name in ("model", "tuned"))
    assert before == after
    assert len(after.after) >= 2


def test_three_bins_and_two_signals_each_have_tokens_of_their_own(data, tmp_path):
    three = {"name": "conditional", "threshold": [-1.5, -0.5]}
    assert pretrain(data, tmp_path / "three", objective=three)["threshold"] == [[-1.5, -0.5]]
    layout = load(tmp_path / "three").layout
    assert layout.control == ("good", "middle", "bad")
    assert layout.marks("none", 0.0, {}) == Bins(("style",), ((-1.5, -0.5),))  # not what a tuning's options say
    policy = load(tmp_path / "three")
    assert policy.tokenizer.vocab_size == Tokenizer.load(data / "tokenizer").vocab_size + 1
    assert len(policy.generate("", max_new_tokens=4, ask="middle")) == 1
    documents = read_documents(data / "line" / "train.parquet")
    own = {id(d): tuple(float(len(piece)) for piece in d.segments()) for d in documents}
    both = [replace(d, scores={**d.scores, "length": own[id(d)]}) for d in documents]
    write_documents(tmp_path / "both" / "train.parquet", both)
    write_documents(tmp_path / "both" / "validation.parquet", both)
    summary = json.loads((data / "line" / "summary.json").read_text())
    summary["signals"]["length"] = {"quantiles": {"0.5": 9.0}, "document_quantiles": {"0.5": 9.0}}
    (tmp_path / "both" / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "tokenizer").symlink_to(data / "tokenizer")
    two = {"name": "conditional", "signal": ["style", "length"], "threshold": [0.0, "median"]}
    pretrain(tmp_path, tmp_path / "two", "both", objective=two)
    wanted = ("style:good,length:good", "style:good,length:bad", "style:bad,length:good", "style:bad,length:bad")
    assert load(tmp_path / "two").layout.control == wanted
    assert len(load(tmp_path / "two").generate("", max_new_tokens=4, ask=wanted[1])) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threshold": [0.0, -1.0]}, "thresholds of style that do not rise: 0, -1"),
        ({"threshold": ["median", -1]}, "do not rise: -1, -1"),
        ({"threshold": []}, "do not rise: none"),
        ({"signal": ["style", "style"]}, "name each signal once"),
        ({"signal": []}, "name each signal once"),
        ({"signal": ["style", "style"], "threshold": [0.0, 0.0, 0.0]}, "3 thresholds for 2 signals"),
        ({"threshold": [-1.0, 0.0], "soft": True}, "soft is for good and bad"),
    ],
)
def test_bins_that_cannot_be_are_refused(data, tmp_path, options, words):
    with pytest.raises(OptionError, match=words):
        pretrain(data, tmp_path / "a", objective={"name": "conditional", **options})


def test_a_plain_model_is_not_asked_for_anything(data, tmp_path):
    pretrain(data, tmp_path / "plain")
    with pytest.raises(InputError, match="'good'; it was trained without any: leave ask out"):
        load(tmp_path / "plain").generate("x", ask="good")
    inputs = {"data": data / "line", "model": tmp_path / "plain"}
    with pytest.raises(InputError, match="knows no control token 'good'"):
        tune.run(tune.Options(), StageContext("t", Path(tmp_path), inputs, 1, 1, lambda: 0, lambda text: None))


@pytest.mark.parametrize(
    "shape",
    [
        {"model_type": "qwen3", "head_dim": 12, "tie_word_embeddings": False},
        {"model_type": "mistral", "sliding_window": 6, "rope_parameters": {"rope_type": "linear", "factor": 2.0}},
    ],
)
def test_every_family_can_be_pretrained_and_loads_in_transformers(data, tmp_path, shape):
    from transformers import AutoConfig

    found = pretrain(data, tmp_path, model=MODEL | shape)
    config = AutoConfig.from_pretrained(tmp_path / "model")
    assert {key: getattr(config, key) for key in shape if key != "rope_parameters"} == {
        key: value for key, value in shape.items() if key != "rope_parameters"
    }
    model = load(tmp_path / "model").model
    assert sum(p.numel() for p in model.parameters()) == found["parameters"]


@pytest.mark.parametrize("name", ["filtering", "unlikelihood", "rwr", "awr"])
def test_objectives_by_score_train_and_go_on_with_the_same_bits(data, tmp_path, name):
    notes: list[str] = []
    summary = pretrain(data, tmp_path / "whole", objective=name, notes=notes, eval_steps=4)
    assert summary["objective"] == name
    assert any("leaves out 1 of 4 documents" in note for note in notes) == (name == "filtering")
    (tmp_path / "cut").mkdir()
    inputs = {"data": data / "line", "tokenizer": data / "tokenizer"}
    steps = iter(range(1, 100))
    context = StageContext(
        "model", tmp_path / "cut", inputs, 1, 1, lambda: 15 if next(steps) == 3 else 0, lambda text: None
    )
    with pytest.raises(Stopped):
        run(Options(**{**SETTINGS, "objective": name, "eval_steps": 4}), context)
    pretrain(data, tmp_path / "cut", objective=name, eval_steps=4)
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    heads = [tmp_path / run_name / "model" / "heads.safetensors" for run_name in ("whole", "cut")]
    assert [path.is_file() for path in heads] == [name == "awr"] * 2
    if name == "awr":
        assert heads[0].read_bytes() == heads[1].read_bytes()
    rows = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert all(row["loss"] > 0 for row in rows)


def test_a_plan_counts_the_vocabulary_that_the_tokenizer_is_to_have():
    counts = {
        size: plan(load_recipe("phf-pep8", [f"tokenizer.vocab_size={size}"], environment={}))["stages"]["mle"][
            "parameters"
        ]
        for size in (2048, 4096)
    }
    assert counts[4096] - counts[2048] == 2048 * 128  # embeddings are tied
