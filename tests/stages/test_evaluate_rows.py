"""Evaluation on rows of prompts and answers: what is asked, measured, scored and refused."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from penchant.contracts import StageContext
from penchant.data.examples import write_examples
from penchant.errors import DataRejected, InputError
from penchant.files import write_json
from penchant.records import Example
from penchant.stages.evaluate import Machine, Options, run
from penchant.text.template import Template
from penchant.text.tokenizer import Tokenizer

COUNT = 20


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Rows whose answer is the double of a number; every third prompt is long."""
    folder = tmp_path_factory.mktemp("rows")
    examples = [
        Example(f"d#{i}", {"prompt": f"double {i}" + " and more" * (40 * (i % 3 == 2)), "completion": str(2 * i)})
        for i in range(COUNT)
    ]
    (folder / "data").mkdir()
    write_examples(folder / "data" / "test.parquet", examples)
    write_examples(folder / "data" / "train.parquet", [])
    write_json(folder / "data" / "summary.json", {"kind": "examples", "format": "prompt_completion"})
    tokenizer = Tokenizer.train([str(e.columns) for e in examples], 300)
    for role in ("right", "wrong"):
        (folder / role / "model").mkdir(parents=True)
        tokenizer.save(folder / role / "model")
        (folder / role / "model" / "model.safetensors").write_bytes(role.encode())
    return folder, tokenizer


def evaluate(root, folder, notes=None, **changes):
    at, tokenizer = root

    def opened(model, device):
        def generate(prompts, **request):
            texts = [tokenizer.decode(list(ids)) for ids in prompts]
            numbers = [int(text.split("double ")[1].split()[0]) for text in texts]
            wanted = [2 * n if model.parent.name == "right" else n for n in numbers]
            ids = [tuple(tokenizer.encode(str(n))) for n in wanted]
            return [SimpleNamespace(ids=i, forced=np.zeros(len(i), bool), stop="end") for i in ids]

        return Machine(generate, lambda rows: [np.full(len(ids) - 1, -2.0) for ids in rows])

    folder.mkdir(exist_ok=True)
    inputs = {"data": at / "data", "right": at / "right", "wrong": at / "wrong"}
    models = {name: {"model": name} for name in ("right", "wrong")}
    options = Options(
        **{"models": models, "temperatures": [0], "bootstrap": 50, "pairs": [["wrong", "right"]], **changes}
    )
    context = StageContext("evaluate", folder, inputs, 0, 1, lambda: 0, ([] if notes is None else notes).append)
    summary = run(options, context, opened)
    return summary, json.loads((folder / "evaluation.json").read_text())


def test_answers_are_measured_with_intervals_and_paired(root, tmp_path):
    summary, found = evaluate(root, tmp_path)
    assert summary["prompts"] == COUNT
    right, wrong = found["models"]["right"], found["models"]["wrong"]
    assert right["exact_match"]["value"] == right["reward"]["value"] == 1
    assert wrong["exact_match"]["value"] == pytest.approx(1 / COUNT)  # the double of 0 is 0
    assert wrong["exact_match"]["low"] < 1 / COUNT < wrong["exact_match"]["high"]
    assert found["models"]["real"]["exact_match"]["value"] == 1
    (test,) = [p for p in found["paired"] if p["measure"] == "exact_match"]
    assert test["difference"] == pytest.approx(1 - 1 / COUNT) and test["p"] < 0.05
    rows = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert len(rows) == 3 * COUNT and len({row["source"] for row in rows}) == COUNT


def test_perplexity_is_of_the_answers_alone(root, tmp_path):
    _, found = evaluate(root, tmp_path)
    assert found["models"]["right"]["perplexity"]["value"] == pytest.approx(np.e**2)
    template = Template(root[1])
    sizes = [len(template.pair_ids("x", str(2 * i))[1]) for i in range(COUNT)]
    assert found["settings"]["held_out"]["tokens"] == sum(sizes)  # with the token that ends each


def test_long_prompts_are_left_out_and_told(root, tmp_path):
    notes = []
    summary, _ = evaluate(root, tmp_path, notes, prompt_tokens=20)
    assert summary["prompts"] == COUNT - COUNT // 3
    assert any(f"{COUNT // 3} prompts of more than 20 tokens" in note for note in notes)
    with pytest.raises(DataRejected, match="all 20 prompts have more than 1 tokens"):
        evaluate(root, tmp_path / "none", prompt_tokens=1)


def test_control_tokens_and_empty_splits_are_refused(root, tmp_path):
    with pytest.raises(InputError, match=r"models.right asks for a control token, and the data are rows; set ask=null"):
        evaluate(root, tmp_path, models={"right": {"model": "right", "ask": "good"}})
    with pytest.raises(DataRejected, match="train split is empty"):
        evaluate(root, tmp_path, split="train")
