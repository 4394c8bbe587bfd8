"""What a run is about to learn from, at its three doors, and what stops it there."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "algorithms"))
import test_from_rows as by_rows
import toy

from penchant.api import single
from penchant.errors import PenchantError
from penchant.runs.preflight import preflights
from penchant.stages._preflight import CLOSE, OPEN
from running import penchant

ONLINE = ["algorithm=grpo", "steps=2", "batch_size=8", "num_generations=4", "prompt_tokens=24",
          "max_completion_length=6", "max_clipped_ratio=1", "eval_prompts=4", "eval_generations=4", "pass_at=[1, 4]",
          "pass_reward=0.5", "rewards=[{name: format, pattern: '[a-z]'}]",
          "data.fractions=[0.6, 0.4, 0.0]"]  # fmt: skip


@pytest.fixture(scope="module")
def at(tmp_path_factory):
    """A model, rows of prompts and of pairs."""
    root = toy.folders(tmp_path_factory.mktemp("doors"))
    by_rows.write(root / "asked.jsonl", [{"prompt": f"say {i}: "} for i in range(40)])
    by_rows.write(root / "pairs.jsonl", by_rows.rows(60))
    return root


@pytest.mark.parametrize("door", [["tune", "--dry-run"], ["doctor"]])
def test_rows_are_shown_with_their_loss(at, tmp_path, door):
    words = [f"model={at / 'model'}", f"data={at / 'pairs.jsonl'}", "tune.algorithm=dpo", "max_length=24",
             f"run_dir={tmp_path / 'run'}"]  # fmt: skip
    done = penchant(*door, *words, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    found = found.get("preflight", found)["tune"]
    assert found["rows"] + sum(found["left_out"].values()) == pytest.approx(53, abs=6)
    assert 0 < found["loss_tokens"] < found["tokens"] and found["longest"] == 24
    assert found["memory_bytes"] > 0 and found["seconds_a_step"] > 0
    example = found["examples"][0]
    asked, _, answers = example["marked"].partition(OPEN)
    assert asked == example["prompt"] and answers.count(CLOSE) == 2
    assert not (tmp_path / "run").exists()
    if door == ["doctor"]:
        shown = penchant(*door, *words)
        assert OPEN in shown.stderr + shown.stdout


def test_a_first_rollout_is_shown_before_and_at_the_start(at, tmp_path):
    words = [f"model={at / 'model'}", f"data={at / 'asked.jsonl'}", *ONLINE, f"run_dir={tmp_path / 'run'}"]
    done = penchant("doctor", *words, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["tune"]
    assert found["completions"] == 8 and 0 <= found["reward"] <= 1 and found["sampling_seconds_a_step"] > 0
    assert OPEN in found["examples"][0]["marked"] and set(found["examples"][0]["rewards"]) == {"format"}
    run = penchant("tune", *words)
    assert run.returncode == 0, run.stderr
    stage = tmp_path / "run" / "stages" / "tune"
    begun = json.loads((stage / "preflight.json").read_text())
    assert begun["reward"] == found["reward"]  # the same prompts and draws
    assert "the first rollout: reward" in (tmp_path / "run" / "log.txt").read_text()
    rows = toy.rows(stage)
    assert 0 <= rows[-1]["eval_pass@1"] <= rows[-1]["eval_pass@4"] <= 1


def test_a_recipe_tells_what_waits(tmp_path):
    done = penchant("doctor", "smoke", f"run_dir={tmp_path / 'run'}", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["mle"] == {"waits_for": ["prepare", "tokenizer"]} and "conditional" in found["tuned"]["waits_for"]


def test_what_would_stop_the_run_stops_it_at_the_door(at, tmp_path):
    words = [f"model={at / 'model'}", f"run_dir={tmp_path / 'run'}"]

    def refused(told, data, *more):
        with pytest.raises(PenchantError) as error:
            preflights(single("tune", [*words, f"data={data}", *more]))
        assert told in str(error.value), error.value

    dpo = ("tune.algorithm=dpo", "max_length=40")
    refused("rows do not fit", at / "pairs.jsonl", "tune.algorithm=dpo", "max_length=3")
    by_rows.write(tmp_path / "same.jsonl", [{**row, "rejected": row["chosen"]} for row in by_rows.rows(20)])
    refused("20 of 20", tmp_path / "same.jsonl", *dpo)
    by_rows.write(tmp_path / "none.jsonl", [{"prompt": "", "chosen": "a", "rejected": "b"} for _ in range(20)])
    refused("the prompt is empty", tmp_path / "none.jsonl", *dpo)
    said = {"completion": [{"role": "assistant", "content": "a"}]}
    talk = [{"prompt": [{"role": "user", "content": f"hm {i}"}], **said} for i in range(20)]
    by_rows.write(tmp_path / "talk.jsonl", talk)
    refused("no chat template", tmp_path / "talk.jsonl", "tune.algorithm=sft", "max_length=40")
    refused("cut at 6 tokens", at / "asked.jsonl", *ONLINE, "max_clipped_ratio=0.2")


def test_the_command_ends_with_one_line(at, tmp_path):
    words = [f"model={at / 'model'}", f"run_dir={tmp_path / 'run'}", f"data={at / 'pairs.jsonl'}", "max_length=3"]
    done = penchant("doctor", *words, "tune.algorithm=dpo")
    assert done.returncode == 4 and "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("penchant: ") and "raise max_length=" in last
