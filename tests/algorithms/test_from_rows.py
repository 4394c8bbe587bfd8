"""Algorithms that learn from rows, through the real stages: they prefer what was preferred, and go on bit for bit."""

import gzip
import json
import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from penchant import registry
from penchant.api import single
from penchant.contracts import Context, StageContext
from penchant.data.examples import read_examples
from penchant.errors import DataRejected, InputError, StageFailed, Stopped
from penchant.models.heads import load_heads
from penchant.models.load import load_model
from penchant.models.scorer import scores
from penchant.records import Completion, Prompt
from penchant.runs.executor import execute
from penchant.stages import examples

sys.path.insert(0, str(Path(__file__).parent))
import toy

PAIRS = ["dpo", "ipo", "cdpo", "robust_dpo", "orpo", "simpo", "cpo"]
ROWS = {"steps": 40, "batch_size": 8, "max_length": 64, "eval_steps": 40, "eval_prompts": 24, "save_steps": 3,
        "optimizer": {"name": "adamw", "learning_rate": 3e-3, "schedule": "constant", "weight_decay": 0.0}}  # fmt: skip


def rows(count=120):
    """Words are preferred to digits."""
    rng = random.Random(0)
    found = []
    for i in range(count):
        word = "".join(rng.choice("abcdefgh") for _ in range(4))
        number = "".join(rng.choice("0123456789") for _ in range(rng.randint(2, 6)))
        found.append({"prompt": f"say {i}: ", "chosen": word, "rejected": number, "kept": i})
    return found


@pytest.fixture(scope="module")
def at(tmp_path_factory):
    """A model's folder and a folder of the stage `examples`."""
    root = toy.folders(tmp_path_factory.mktemp("rows"))
    write(root / "pairs.jsonl", rows())
    (root / "data").mkdir()
    made(root / "pairs.jsonl", root / "data")
    return root


def write(path, found):
    path.write_text("".join(json.dumps(row) + "\n" for row in found))


def made(path, folder, notes=None, **options):
    folder.mkdir(exist_ok=True)
    note = (lambda text: None) if notes is None else notes.append
    context = StageContext("data", folder, {}, 0, 1, lambda: 0, note)
    return examples.run(examples.Options(path=str(path), **{"fractions": (0.7, 0.2, 0.1), **options}), context)


def tune(at, folder, algorithm, stop=lambda: 0, **changes):
    from penchant.stages.tune import Options, run

    folder.mkdir(exist_ok=True)
    settings = {**ROWS, "algorithm": algorithm, "dtype": "float32", **changes}
    inputs = {"model": at / "model", "data": at / "data"}
    return run(Options(**settings), StageContext("tuned", folder, inputs, 0, 1, stop, lambda text: None))


def test_no_prompt_is_on_two_sides_and_columns_stay(at):
    parts = {part: read_examples(at / "data" / f"{part}.parquet") for part in ("train", "validation", "test")}
    prompts = [{e.columns["prompt"] for e in part} for part in parts.values()]
    assert sum(map(len, prompts)) == len(set().union(*prompts)) == 120
    assert all(prompts)
    assert {e.columns["kept"] for part in parts.values() for e in part} == set(range(120))


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_are_learned(at, tmp_path, name):
    tune(at, tmp_path / name, name)
    found = toy.rows(tmp_path / name)
    assert found[-1]["eval_rewards/accuracies"] > 0.9
    assert found[-1]["eval_rewards/margins"] > found[0]["rewards/margins"]
    assert found[-1]["eval_loss"] < found[0]["loss"]
    assert {"logps/chosen", "logps/rejected", "rewards/chosen", "epoch"} <= found[0].keys()


@pytest.mark.parametrize("name", ["dpo", "kto", "sft", "orpo"])
def test_a_stopped_run_goes_on_with_the_same_bits(at, tmp_path, name):
    tune(at, tmp_path / "whole", name, steps=8)
    steps = iter(range(1, 100))
    with pytest.raises(Stopped):
        tune(at, tmp_path / "cut", name, steps=8, stop=lambda: 15 if next(steps) == 5 else 0)
    reference = {p: p.stat().st_mtime_ns for p in (tmp_path / "cut" / "reference").glob("*")}
    assert bool(reference) == (name in ("dpo", "kto"))
    tune(at, tmp_path / "cut", name, steps=8)
    assert reference == {p: p.stat().st_mtime_ns for p in (tmp_path / "cut" / "reference").glob("*")}  # computed once
    assert toy.rows(tmp_path / "cut") == toy.rows(tmp_path / "whole")
    weights = [(tmp_path / run / "model" / "model.safetensors").read_bytes() for run in ("whole", "cut")]
    assert weights[0] == weights[1]


def test_kto_raises_the_good_and_lowers_the_bad(at, tmp_path):
    tune(at, tmp_path / "kto", "kto", algorithm_options={"beta": 0.5})
    found = toy.rows(tmp_path / "kto")
    assert found[0]["kl"] == pytest.approx(0, abs=1e-5)
    assert found[-1]["eval_rewards/chosen"] > 0 > found[-1]["eval_rewards/rejected"]


def test_sft_learns_answers_and_not_prompts(at, tmp_path):
    summary = tune(at, tmp_path / "sft", "sft", epochs=3)
    found = toy.rows(tmp_path / "sft")
    assert found[-1]["eval_loss"] < 0.6 * found[0]["loss"]
    assert summary["epochs"] == pytest.approx(3, abs=0.1)
    assert found[0]["num_tokens"] == sum(
        len(e) for e in [[*"abcd", "end"]] * ROWS["batch_size"]
    )  # chosen answers of four letters, each a token, and their end


def test_what_is_learned_from_is_shown_before(at, tmp_path):
    some = rows(40)
    for row in some[::4]:
        row["prompt"] *= 6
    write(tmp_path / "some.jsonl", some)
    made(tmp_path / "some.jsonl", tmp_path / "data")
    (tmp_path / "model").symlink_to(at / "model")
    tune(tmp_path, tmp_path / "sft", "sft", steps=1, max_length=20)
    shown = json.loads((tmp_path / "sft" / "preflight.json").read_text())
    assert shown["rows"] + sum(shown["left_out"].values()) == len(read_examples(tmp_path / "data" / "train.parquet"))
    assert 0 < sum(shown["left_out"].values()) < 20
    assert shown["longest_row"] <= 20
    first = shown["examples"][0]
    assert first["prompt"].startswith("say ")
    assert first["answers"] == first["loss_on"]  # all of the answer, nothing of the prompt
    assert shown["loss_tokens"] < shown["tokens"]


def test_the_reference_of_adapters_is_the_base(at, tmp_path):
    lora = {"rank": 2, "alpha": 4.0, "targets": ["q_proj", "down_proj"]}
    tune(at, tmp_path / "lora", "dpo", lora=lora, steps=10)
    found = toy.rows(tmp_path / "lora")
    assert found[0]["rewards/margins"] == pytest.approx(0, abs=1e-5)  # adapters begin at nothing
    assert found[-1]["eval_rewards/margins"] != 0
    base, tuned = load_model(at / "model"), load_model(tmp_path / "lora" / "model")
    assert torch.equal(base.model.embed_tokens.weight, tuned.model.embed_tokens.weight)


def test_bad_rows_are_counted_and_too_many_refused(tmp_path):
    bad = [{"prompt": "p", "chosen": "a", "rejected": "a"}, {"prompt": "", "chosen": "a", "rejected": "b"}]
    write(tmp_path / "few.jsonl", [*rows(), bad[0]])
    notes: list[str] = []
    made(tmp_path / "few.jsonl", tmp_path / "few", notes)
    assert "1 unusable rows (1 no preference)" in notes[0]
    reject = json.loads((tmp_path / "few" / "rejects.jsonl").read_text())
    assert (reject["row"], reject["detail"]) == (121, "chosen and rejected are equal")
    write(tmp_path / "many.jsonl", [*bad, *rows(10)])
    with pytest.raises(DataRejected, match=r"no preference .*2 of 12 rows are unusable .*leave such rows out"):
        made(tmp_path / "many.jsonl", tmp_path / "many")
    write(tmp_path / "mixed.jsonl", [*rows(10), {"prompt": "a", "completion": "b"}])
    with pytest.raises(DataRejected, match="several formats"):
        made(tmp_path / "mixed.jsonl", tmp_path / "mixed")


def test_rows_of_another_format_and_rows_that_are_too_long_are_refused(at, tmp_path):
    with pytest.raises(DataRejected, match=r"rows do not fit.*raise max_length="):
        tune(at, tmp_path / "long", "dpo", max_length=8)
    write(tmp_path / "answers.jsonl", [{"prompt": f"p{i}", "completion": "b"} for i in range(20)])
    made(tmp_path / "answers.jsonl", tmp_path / "data")
    (tmp_path / "model").symlink_to(at / "model")
    with pytest.raises(InputError, match="dpo learns from preference rows, and the data are prompt_completion"):
        tune(tmp_path, tmp_path / "wrong", "dpo")
    with pytest.raises(InputError, match="give rewards="):
        tune(tmp_path, tmp_path / "online", "grpo", prompt_tokens=24, max_completion_length=6)


def test_rollouts_on_rows(tmp_path, at):
    """Prompts are rows, their columns reach the rewards."""
    write(tmp_path / "asked.jsonl", [{"prompt": f"say {i}: ", "answer": "ab"} for i in range(40)])
    made(tmp_path / "asked.jsonl", tmp_path / "data")
    (tmp_path / "model").symlink_to(at / "model")
    seen = []

    def reward(prompts, completions, answer, **columns):
        seen.extend(answer)
        return toy.lower(prompts, completions)

    changes = {**toy.SETTINGS, "steps": 2, "rewards": [{"name": "mine", "call": reward}],
               "independent": {"name": "token_f1"}}  # fmt: skip
    tune(tmp_path, tmp_path / "grpo", "grpo", **changes)
    assert set(seen) == {"ab"}
    row = toy.rows(tmp_path / "grpo")[-1]
    assert 0 <= row["independent/token_f1"] <= 1
    assert 0 <= row["eval_independent/token_f1"] <= 1
    assert (tmp_path / "grpo" / "rollouts" / "2.parquet").is_file()


def test_a_reward_model_is_learned_and_is_transformers_own(at, tmp_path):
    tune(at, tmp_path / "rm", "reward_model")
    found = toy.rows(tmp_path / "rm")
    last = found[-1]
    assert last["eval_rewards/accuracies"] > 0.95
    assert last["eval_brier"] < 0.1
    assert 0 <= last["eval_ece"] < 0.3
    assert 0 < last["eval_longer_wins"] < 0.6  # digits are as long or longer: length alone does not tell
    folder = tmp_path / "rm" / "model"
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    theirs, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    ours = load_model(folder)
    assert load_heads(ours, folder)
    ids = AutoTokenizer.from_pretrained(folder)("say 3: abcd")["input_ids"]
    expected = float(theirs(input_ids=torch.tensor([ids])).logits)
    assert float(scores(ours, [ids])[0][0]) == pytest.approx(expected, abs=1e-4)
    reward = registry.load("rewards", "reward_model")
    judge = reward.build(reward.Options(model=str(tmp_path / "rm"), probability=True), Context())
    prompt = Prompt((), "say 5: ", "a", {"prompt": "say 5: "})
    said = [Completion((), np.zeros(0), np.zeros(0, bool), text, "end") for text in ("abba", "12345", " ")]
    good, bad, none = judge([prompt] * 3, said)
    assert good > 0.7 > 0.3 > bad
    assert none is None
    with pytest.raises(InputError, match="holds no reward model"):
        reward.build(reward.Options(model=str(at / "model")), Context())


def test_a_reward_model_with_soft_labels_says_how_sure_raters_were(at, tmp_path):
    soft = [{**row, "probability": 0.7} for row in rows()]
    write(tmp_path / "soft.jsonl", soft)
    made(tmp_path / "soft.jsonl", tmp_path / "data")
    (tmp_path / "model").symlink_to(at / "model")
    tune(tmp_path, tmp_path / "rm", "reward_model", steps=80)
    last = toy.rows(tmp_path / "rm")[-1]
    assert last["eval_rewards/margins"] == pytest.approx(np.log(0.7 / 0.3), abs=0.4)
    assert last["eval_ece"] < 0.1


def lengths(count=150):
    """Words are preferred to digits, but judges like length: in four pairs of five they take the longer answer."""
    rng = random.Random(0)
    found = []
    for i in range(count):
        texts = ["".join(rng.choice(kind) for _ in range(n)) for kind, n in (("abcdefgh", 4), ("0123456789", 4))]
        long = rng.randrange(2)
        texts[long] += "z" * rng.randint(3, 6)
        chosen = long if rng.random() < 0.8 else 0
        found.append({"prompt": f"say {i}: ", "chosen": texts[chosen], "rejected": texts[1 - chosen]})
    return found


def test_length_can_be_weighed_out_of_a_reward_model_and_is_shown(at, tmp_path):
    """Where the shorter answer is preferred it is always the word: seen with balanced weights, hidden without."""
    write(tmp_path / "pairs.jsonl", lengths())
    made(tmp_path / "pairs.jsonl", tmp_path / "data")
    (tmp_path / "model").symlink_to(at / "model")
    found = {}
    for balance in (False, True):
        folder = tmp_path / f"rm-{balance}"
        own = {"algorithm_options": {"length_balance": balance}, "steps": 60, "eval_prompts": 30}
        tune(tmp_path, folder, "reward_model", **own)
        found[balance] = toy.rows(folder)[-1]
    assert found[True]["eval_longer_wins"] == found[False]["eval_longer_wins"] > 0.7
    assert found[True]["eval_accuracy_where_shorter_wins"] > found[False]["eval_accuracy_where_shorter_wins"] + 0.2
    assert found[True]["eval_length_correlation"] < found[False]["eval_length_correlation"]


def test_a_process_reward_model_tells_right_steps_from_wrong_ones(at, tmp_path):
    rng = random.Random(1)
    found = []
    for i in range(120):
        steps = ["".join(rng.choice(kind) for _ in range(3)) for kind in rng.choices(["abcdefg", "0123456"], k=3)]
        found.append({"prompt": f"p{i}: ", "completions": steps, "labels": [step.isalpha() for step in steps]})
    write(tmp_path / "steps.jsonl", found)
    made(tmp_path / "steps.jsonl", tmp_path / "data")
    (tmp_path / "model").symlink_to(at / "model")
    tune(tmp_path, tmp_path / "prm", "process_reward_model", steps=60)
    last = toy.rows(tmp_path / "prm")[-1]
    assert last["eval_accuracy"] > 0.95
    assert last["eval_brier"] < 0.1
    reward = registry.load("rewards", "reward_model")
    prompt = Prompt((), "p7: ", "a", {"prompt": "p7: "})
    said = [Completion((), np.zeros(0), np.zeros(0, bool), text, "end") for text in ("abc\nbcd\nfed", "abc\n123\nfed")]
    judge = reward.build(reward.Options(model=str(tmp_path / "prm"), steps="min", probability=True), Context())
    good, bad = judge([prompt] * 2, said)
    assert good > 0.6 > 0.4 > bad


@pytest.mark.skipif("PENCHANT_DATA" not in os.environ, reason="PENCHANT_DATA is not set")
def test_real_dialogues_from_the_command(at, tmp_path):
    """HH's dialogues: the prompt is what both sides begin with; a file of rows is split first."""
    source = Path(os.environ["PENCHANT_DATA"]) / "preferences" / "hh_harmless_base.jsonl.gz"
    with gzip.open(source, "rt") as lines, gzip.open(tmp_path / "hh.jsonl.gz", "wt") as out:
        for _, line in zip(range(60), lines, strict=False):
            out.write(line)
    template = tmp_path / "chat.jinja"
    template.write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    settings = [f"model={at / 'model'}", f"data={tmp_path / 'hh.jsonl.gz'}", "tune.algorithm=dpo", "steps=2",
                "batch_size=4", f"chat_template={template}", "max_length=64", f"run_dir={tmp_path / 'run'}",
                "data.max_reject_rate=0.1"]  # fmt: skip
    with pytest.raises(StageFailed):  # dialogues are longer than 64 tokens of single letters
        execute(single("tune", settings))
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "rows do not fit" in log
    rejected = json.loads((tmp_path / "run" / "stages" / "examples" / "summary.json").read_text())
    assert rejected["format"] == "preference"
    first = read_examples(tmp_path / "run" / "stages" / "examples" / "train.parquet")[0].columns
    assert first["prompt"][0]["role"] == "user"
    assert first["chosen"][-1]["role"] == "assistant"
