"""Text environments under the real stage: turns are learned at any granularity, and a stopped run goes on."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from penchant.advantages.gae import gae
from penchant.algorithms._critic import Critic
from penchant.errors import PenchantError, StageFailed, Stopped
from penchant.records import Batch
from penchant.runs.executor import execute
from penchant.stages.tune import Options, run

sys.path.insert(0, str(Path(__file__).parents[1] / "algorithms"))
import toy

from penchant.api import single
from penchant.contracts import StageContext
from penchant.stages import examples
from running import one_line, penchant

TURNS = str(Path(__file__).with_name("turns.py"))
TOOLS = Path(__file__).with_name("tools.py")


def nothing(prompts, completions, **columns):
    return [0.0] * len(completions)


@pytest.fixture(scope="module")
def at(tmp_path_factory):
    """A model, and rows of prompts."""
    root = toy.folders(tmp_path_factory.mktemp("turns"))
    (root / "asked.jsonl").write_text("".join(json.dumps({"prompt": f"say {i}: "}) + "\n" for i in range(40)))
    (root / "data").mkdir()
    options = examples.Options(path=str(root / "asked.jsonl"), fractions=(0.6, 0.4, 0.0))
    examples.run(options, StageContext("data", root / "data", {}, 0, 1, lambda: 0, lambda text: None))
    return root


def tune(at, folder, algorithm, stop=lambda: 0, notes=None, **changes):
    folder.mkdir(exist_ok=True)
    settings = {**toy.SETTINGS, "algorithm": algorithm, "environment": TURNS, "max_completion_length": 24,
                "rewards": [{"name": "nothing", "call": nothing}], "prompt_tokens": 32, **changes}  # fmt: skip
    inputs = {"model": at / "model", "data": at / "data"}
    note = (lambda text: None) if notes is None else notes.append
    return run(Options(**settings), StageContext("tuned", folder, inputs, 0, 1, stop, note))


@pytest.mark.parametrize(
    ("algorithm", "granularity"),
    [("ppo", "document"), pytest.param("ppo", "token", marks=pytest.mark.slow),
     pytest.param("grpo", "token", marks=pytest.mark.slow), pytest.param("ppo", "sentence", marks=pytest.mark.slow),
     pytest.param("a2c", "document", marks=pytest.mark.slow)],
)  # fmt: skip
def test_turns_are_learned_from_what_the_environment_gives(at, tmp_path, algorithm, granularity):
    tune(at, tmp_path / "run", algorithm, granularity=granularity, steps=100)
    rows = toy.rows(tmp_path / "run")
    found = [row["reward"] for row in rows if "reward" in row]
    assert np.mean(found[:3]) < 0.3 and np.mean(found[-3:]) > 0.8, found
    last = [row for row in rows if "reward" in row][-1]
    assert last["environment/said"] > 1.6 and last["environment/turns"] > 1.6
    table = pq.read_table(sorted((tmp_path / "run" / "rollouts").glob("*.parquet"))[-1])
    best = json.loads(table["messages"][int(np.argmax(table["reward"].to_numpy()))].as_py())
    assert [m["role"] for m in best] == ["assistant", "user", "assistant"] and best[1]["content"] == "go"


def test_a_stopped_run_goes_on_with_the_same_bits(at, tmp_path):
    """Rollouts of several turns that are used twice, stopped between the uses."""
    changes = {"steps": 7, "save_steps": 2, "eval_steps": 7, "granularity": "sentence", "num_iterations": 2}
    tune(at, tmp_path / "whole", "ppo", **changes)
    calls = iter([0, 0, 0, 0, 1, 1, 1])
    with pytest.raises(Stopped):
        tune(at, tmp_path / "cut", "ppo", stop=lambda: next(calls, 1), **changes)
    tune(at, tmp_path / "cut", "ppo", **changes)
    assert toy.rows(tmp_path / "whole") == toy.rows(tmp_path / "cut")
    whole, cut = ((tmp_path / n / "model" / "model.safetensors").read_bytes() for n in ("whole", "cut"))
    assert whole == cut


def test_credit_goes_to_whole_actions():
    """Against a loop over actions: rewards together, the value where each begins, one advantage for all its tokens."""
    rng = np.random.default_rng(0)
    unit = np.repeat([0, 1, 2], [7, 1, 5])
    action = np.array([0, 0, 0, 1, 1, 2, 2, 0, 3, 4, 4, 4, 5], np.float32)
    rewards, values = rng.normal(size=13).astype(np.float32), rng.normal(size=13).astype(np.float32)
    nothing = np.zeros(13, np.int64)
    columns = {"rewards": rewards, "old_values": values, "action": action}
    batch = Batch(nothing, nothing, np.array([13]), nothing, nothing, unit, columns)
    [found] = Critic(0.9, 0.8, whiten=False)([batch])
    for u in range(3):
        mine = np.flatnonzero(unit == u)
        starts = [i for i in mine if i == mine[0] or action[i] != action[i - 1]]
        spans = [(a, b) for a, b in zip(starts, [*starts[1:], mine[-1] + 1], strict=True)]
        after, next_value = 0.0, 0.0
        for a, b in reversed(spans):
            delta = rewards[a:b].sum() + 0.9 * next_value - values[a]
            after, next_value = delta + 0.9 * 0.8 * after, values[a]
            np.testing.assert_allclose(found.columns["advantages"][a:b], after, rtol=1e-5)
            np.testing.assert_allclose(found.columns["returns"][a:b], after + values[a], rtol=1e-5)
    plain = gae(rewards, values, np.append(unit[1:] != unit[:-1], True), 0.9, 0.8)
    single_tokens = {**columns, "action": np.arange(13, dtype=np.float32)}
    [same] = Critic(0.9, 0.8, whiten=False)(
        [Batch(nothing, nothing, np.array([13]), nothing, nothing, unit, single_tokens)]
    )
    np.testing.assert_allclose(same.columns["advantages"], plain[0], rtol=1e-6)


def test_where_granularity_changes_nothing_it_is_said(at, tmp_path):
    notes = []
    tune(at, tmp_path / "run", "rloo", notes=notes, granularity="sentence", steps=1)
    assert any("granularity=sentence changes nothing" in note for note in notes)


def test_tools_from_the_command(at, tmp_path):
    """The tools reach the prompt, and a run trains with them."""
    settings = [f"model={at / 'model'}", f"data={at / 'asked.jsonl'}", "algorithm=grpo", "steps=2", "batch_size=8",
                "num_generations=4", f"environment={{name: multi_turn, tools: ['{TOOLS}:calculate'], turns: 2}}",
                "prompt_tokens=40", "max_completion_length=16", "max_clipped_ratio=1", f"run_dir={tmp_path / 'run'}",
                "rewards=[{name: format, pattern: '[a-z]'}]", "data.fractions=[0.6, 0.4, 0.0]"]  # fmt: skip
    done = penchant("tune", *settings)
    assert done.returncode == 0, done.stderr
    wrong = [s.replace(":calculate", ":untyped") for s in settings]
    one_line(penchant("tune", *wrong), 2, "untyped", "cannot be described")
    wrong = [s.replace("name: multi_turn", "name: multi_turns") for s in settings]
    with pytest.raises(PenchantError, match="multi_turn"):
        execute(single("tune", wrong))
    rows = [s.replace("algorithm=grpo", "algorithm=sft") for s in settings]
    with pytest.raises(PenchantError, match="learns from rows"):
        single("tune", rows)


def test_documents_are_refused(at, tmp_path):
    with pytest.raises((StageFailed, Exception), match="rows of prompts"):
        execute(single("tune", [f"model={at / 'model'}", f"data={at}", f"environment={TURNS}", "ask=null",
                                f"run_dir={tmp_path / 'run'}"]))  # fmt: skip
