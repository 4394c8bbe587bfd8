"""The tuning stage: a rollout used several times, rewards that fail, too few validation prompts, adapters."""

import json

import pytest
import torch

from penchant.contracts import StageContext
from penchant.data.store import write_documents
from penchant.errors import DataRejected, Stopped
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.load import load_model, save_model
from penchant.models.lora import adapted, load_lora
from penchant.records import Document
from penchant.stages.tune import Options, plan, run
from penchant.text.tokenizer import Tokenizer

TEXT = 'def first(x):\n    """Return it."""\n    return x\n\n\ndef second(y):\n    z = y\n    return z\n' * 6


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model folder and a prepared folder."""
    root = tmp_path_factory.mktemp("tune")
    tokenizer = Tokenizer.train([TEXT], 300)
    ids = {"bos_token_id": tokenizer.eos_id, "eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id}
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "max_position_embeddings": 256}
    config = DecoderConfig(vocab_size=tokenizer.vocab_size, initializer_range=0.1, **sizes, **ids)
    (root / "model").mkdir()
    save_model(Decoder(config).initialise(0), root / "model", tuple(tokenizer.control_ids.values()))
    tokenizer.save(root / "model")
    ends = tuple(i + 1 for i, c in enumerate(TEXT) if c == "\n")
    for split in ("train", "validation"):
        document = Document(f"{split}.py", TEXT, ends, {"style": tuple(0.0 for _ in ends)})
        write_documents(root / f"{split}.parquet", [document])
    (root / "summary.json").write_text(json.dumps({"signals": {"style": {"quantiles": {"0.5": 0.0}}}}))
    return root


def share_of_e(prompts, completions, **columns):
    return [text.count("e") / max(1, len(text)) for text in completions]


SETTINGS = {"steps": 6, "batch_size": 8, "num_generations": 4, "max_completion_length": 12, "eval_prompts": 2,
            "prompt_tokens": 40, "max_clipped_ratio": 1.0, "save_steps": 2, "eval_steps": 6, "combine": "sum",
            "rewards": [{"name": "e", "call": share_of_e}], "algorithm_options": {"epsilon": 0.001}}  # fmt: skip


def tune(folders, folder, stop=lambda: 0, notes=None, **changes):
    folder.mkdir(exist_ok=True)
    inputs = {"model": folders / "model", "data": folders}
    note = (lambda text: None) if notes is None else notes.append
    return run(Options(**{**SETTINGS, **changes}), StageContext("tuned", folder, inputs, 1, 1, stop, note))


def rows(folder):
    timed = ("tokens_per_second", "step_seconds", "sampling_seconds", "reward_seconds")
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in timed} for row in found]


@pytest.mark.parametrize("at", [2, 4, 5])  # after the second, the first and the second update of a rollout
def test_a_run_stopped_within_a_rollout_ends_with_the_same_bits(folders, tmp_path, at):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    summary = tune(folders, whole, num_iterations=3)
    assert summary["completions"] == 2 * 8
    steps = iter(range(1, 100))
    with pytest.raises(Stopped):
        tune(folders, cut, num_iterations=3, stop=lambda: 15 if next(steps) == at else 0)
    assert len(rows(cut)) == at
    tune(folders, cut, num_iterations=3)
    assert rows(cut) == rows(whole)
    for name in ("model/model.safetensors", "samples.jsonl"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()
    assert sorted(p.stem for p in (cut / "rollouts").iterdir()) == ["1", "4"]
    assert [("reward" in row, row["clip_ratio"] > 0) for row in rows(whole)] == [
        (True, False), (False, True), (False, True)] * 2  # fmt: skip


def test_more_iterations_learn_otherwise_and_take_fewer_rollouts(folders, tmp_path):
    tune(folders, tmp_path / "one")
    tune(folders, tmp_path / "two", num_iterations=2)
    one, two = (tmp_path / name / "model" / "model.safetensors" for name in ("one", "two"))
    assert one.read_bytes() != two.read_bytes()
    context = StageContext("tuned", tmp_path, {}, 0, 1, lambda: 0, print)
    tokens = [plan(Options(**SETTINGS, num_iterations=n), context)["tokens"] for n in (1, 2, 4)]
    assert tokens == [6 * 8 * 52, 3 * 8 * 52, 2 * 8 * 52]


def test_fewer_validation_prompts_than_asked_for_are_said(folders, tmp_path):
    notes = []
    tune(folders, tmp_path / "run", notes=notes, steps=1, eval_prompts=50)
    assert "tuned: 12 validation prompts, not 50: there are no more" in notes


def test_a_reward_that_fails_is_told_and_refused_where_it_fails_often(folders, tmp_path):
    def fails(prompts, completions, **columns):
        return [1 / text.count("e") for text in completions]

    entry, notes = [{"name": "fails", "call": fails}], []
    with pytest.raises(DataRejected, match=r"reward fails failed for .*ZeroDivisionError"):
        tune(folders, tmp_path / "a", rewards=entry, steps=1)
    tune(folders, tmp_path / "b", rewards=entry, steps=1, max_reward_failures=1, notes=notes)
    assert sum("reward fails failed" in note for note in notes) == 1
    assert rows(tmp_path / "b")[0]["rewards/fails/failed"] > 0


def test_a_reward_without_verdicts_is_refused_in_the_end(folders, tmp_path):
    def mute(prompts, completions, **columns):
        return [None] * len(completions)

    with pytest.raises(DataRejected, match="reward mute gave None for each"):
        tune(folders, tmp_path / "run", rewards=[{"name": "mute", "call": mute}], steps=25)
    assert len(rows(tmp_path / "run")) == 19


LORA = {"lora": {"rank": 2, "alpha": 8.0, "targets": ["q_proj", "down_proj"]}, "algorithm_options": {"beta": 0.1}}


def test_with_adapters_the_published_model_is_the_base_and_a_small_change(folders, tmp_path):
    tune(folders, tmp_path, dtype="float32", **LORA)
    base, tuned = load_model(folders / "model"), load_model(tmp_path / "model")
    assert not adapted(tuned)
    for (name, before), (_, after) in zip(base.named_parameters(), tuned.named_parameters(), strict=True):
        change = (after - before).detach().double()
        if "q_proj" in name or "down_proj" in name:
            assert change.norm() > 0, name
            assert torch.linalg.matrix_rank(change, rtol=1e-2) <= 2, name
        else:
            assert torch.equal(after, before), name
    load_lora(base, tmp_path / "model" / "adapter")
    ids, where = torch.arange(5), (torch.arange(5), torch.tensor([5]))
    assert torch.allclose(base(ids, *where), tuned(ids, *where), atol=1e-4)
    kl = [row["kl"] for row in rows(tmp_path)]
    assert kl[0] == pytest.approx(0, abs=1e-6)
    assert kl[-1] > 1e-6
    config = json.loads((tmp_path / "model" / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["target_modules"]) == (2, ["down_proj", "q_proj"])


def test_a_stopped_run_of_adapters_goes_on_with_the_same_bits(folders, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    tune(folders, whole, **LORA)
    steps = iter(range(1, 100))
    with pytest.raises(Stopped):
        tune(folders, cut, **LORA, stop=lambda: 15 if next(steps) == 3 else 0)
    tune(folders, cut, **LORA)
    assert rows(cut) == rows(whole)
    for name in ("model/model.safetensors", "model/adapter/adapter_model.safetensors"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()
