"""A loaded model: generate, logprobs, score; and tuning it from Python with a function as reward."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from penchant.batches import sampling
from penchant.data.store import write_documents
from penchant.errors import InputError, PenchantError
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.load import save_model
from penchant.policy import load
from penchant.records import Document
from penchant.sampling.engine import generate
from penchant.text.tokenizer import Tokenizer
from penchant.tuning import tune

TEXT = 'def first(x):\n    """Return it."""\n    return x\n\n\ndef second(y):\n    z = y\n    return z\n' * 6


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model folder and a prepared folder."""
    root = tmp_path_factory.mktemp("policy")
    tokenizer = Tokenizer.train([TEXT], 300)
    ends = {"bos_token_id": tokenizer.eos_id, "eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id}
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "max_position_embeddings": 256}
    config = DecoderConfig(vocab_size=tokenizer.vocab_size, initializer_range=0.1, **sizes, **ends)
    (root / "model").mkdir()
    save_model(Decoder(config).initialise(0), root / "model", tuple(tokenizer.control_ids.values()))
    tokenizer.save(root / "model")
    ends = tuple(i + 1 for i, c in enumerate(TEXT) if c == "\n")
    for split in ("train", "validation", "test"):
        document = Document(f"{split}.py", TEXT, ends, {"style": tuple(0.0 for _ in ends)})
        write_documents(root / f"{split}.parquet", [document])
    (root / "summary.json").write_text(json.dumps({"signals": {"style": {"quantiles": {"0.5": 0.0}}}}))
    return root


def test_generate_is_seeded_and_takes_one_or_many_prompts(folders):
    policy = load(folders / "model")
    one = policy.generate("def first(x):\n", max_new_tokens=12, n=2, seed=1)
    assert len(one) == 2
    assert one == policy.generate(["def first(x):\n"], max_new_tokens=12, n=2, seed=1)
    assert one != policy.generate("def first(x):\n", max_new_tokens=12, n=2, seed=2)
    asked = policy.generate(["def first(x):\n", "x"], max_new_tokens=12, ask="good")
    assert not any("<|" in text for text in asked)
    with pytest.raises(InputError, match="nice"):
        policy.generate("x", ask="nice")


def test_a_stop_string_cuts_the_text_and_other_options_reach_the_sampler(folders):
    policy = load(folders / "model")
    (free,) = policy.generate("def first(x):\n", max_new_tokens=20, seed=3)
    wanted = free[4:6]
    (cut,) = policy.generate("def first(x):\n", max_new_tokens=20, seed=3, stop=[wanted])
    assert cut == free[: free.index(wanted)]
    (one,) = {*policy.generate("def first(x):\n", max_new_tokens=9, n=3, min_p=0.999)}
    assert one == policy.generate("def first(x):\n", max_new_tokens=9, temperature=0)[0]
    with pytest.raises(InputError, match="min_p"):
        policy.generate("x", min_p=2)


def test_generate_from_the_saved_folder_in_transformers_gives_the_same_greedy_text(folders):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs = AutoModelForCausalLM.from_pretrained(folders / "model")
    tokenizer = AutoTokenizer.from_pretrained(folders / "model")
    prompt = "def second(y):\n    z"
    ids = [tokenizer.bos_token_id, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
    out = theirs.generate(torch.tensor([ids]), max_new_tokens=16, do_sample=False)
    expected = tokenizer.decode(out[0, len(ids) :], skip_special_tokens=True)
    assert load(folders / "model").generate(prompt, max_new_tokens=16, temperature=0) == [expected]


def test_logprobs_and_score(folders):
    policy = load(folders / "model")
    (found,) = policy.logprobs(["def first(x):\n    return x\n"])
    assert found.dtype == np.float32
    assert (found < 0).all()
    assert len(found) == len(policy.tokenizer.encode("def first(x):\n    return x\n"))
    clean, bad = policy.score(['def f(x):\n    """Say so."""\n    return x\n', "def f(x):\n    return(x )\n"])
    assert clean == [0, 0, 0]
    assert min(bad) < 0


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no model"):
        load(tmp_path)


def test_tune_with_a_function_as_reward(folders, tmp_path):
    seen = []

    def share_of_e(prompts, completions, **columns):
        seen.append((prompts[0], columns["header"][0]))
        return [text.count("e") / max(1, len(text)) for text in completions]

    settings = {"steps": 2, "batch_size": 8, "num_generations": 4, "max_completion_length": 12, "eval_prompts": 2,
                "prompt_tokens": 40, "max_clipped_ratio": 1.0, "save_steps": 1, "combine": "sum"}  # fmt: skip
    policy = tune(folders / "model", folders, rewards=share_of_e, run_dir=tmp_path / "run", threads=1, **settings)
    assert len(policy.generate("def first(x):\n", max_new_tokens=4)) == 1
    assert seen[0][0].rstrip("\n").endswith(seen[0][1])
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    assert {"reward", "kl", "entropy", "logprob_difference", "rewards/share_of_e/mean"} <= set(rows[0])
    assert rows[0]["logprob_difference"] < 0.02
    before = load(folders / "model").model.state_dict()["model.layers.0.mlp.up_proj.weight"].float()
    after = policy.model.state_dict()["model.layers.0.mlp.up_proj.weight"].float()
    assert not torch.equal(before, after)


def test_updates_from_what_sampling_computed_are_those_of_a_forward_and_resume_to_the_bit(folders, tmp_path, capsys):
    settings = {"steps": 4, "batch_size": 8, "num_generations": 4, "max_completion_length": 12, "eval_prompts": 2,
                "prompt_tokens": 40, "max_clipped_ratio": 1.0, "save_steps": 1, "dtype": "float32", "threads": 1,
                "rewards": lambda prompts, completions, **_: [float(t.count("e")) for t in completions]}  # fmt: skip

    def run(name, **changes):
        tune(folders / "model", folders, run_dir=tmp_path / name, **(settings | changes))
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        return load(tmp_path / name / "model").model.state_dict(), [json.loads(line) for line in lines]

    def decided(name):
        return json.loads((tmp_path / name / "decided.json").read_text())["reuse_activations"]

    anew, rows = run("anew", reuse_activations=False)
    kept, found = run("kept", reuse_activations=True)
    assert capsys.readouterr().err.count("updates go on from what sampling computed: 0 MB at most") == 1
    assert (decided("anew"), decided("kept")) == (False, True)  # as the machine chose at first, for the resume
    assert all("logprob_difference" in row and "kept_activations_mb" not in row for row in rows)
    assert ["logprob_difference" in row for row in found] == [True, False, False, False]  # measured in one of eight
    assert all(row["kept_activations_mb"] > 0 for row in found[1:])
    assert all(abs(a["loss"] - b["loss"]) < 1e-5 for a, b in zip(rows, found, strict=True))
    assert all((anew[name] - kept[name]).abs().max() < 1e-4 for name in anew)

    class Counted:
        """A reward that is no function, and that ends the run after so many calls."""

        left = 2

        def __call__(self, prompts, completions, **_):
            Counted.left -= 1
            if Counted.left < 0:
                raise ValueError("enough")
            return settings["rewards"](prompts, completions)

    with pytest.raises(PenchantError, match="enough"):
        run("cut", reuse_activations=True, rewards=Counted())
    run("twice", reuse_activations=True, num_iterations=2, steps=2)
    assert "reuse_activations=true changes nothing here: it needs one update a rollout" in capsys.readouterr().err
    Counted.left = 99
    again, rows = run("cut", reuse_activations=True, rewards=Counted())
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all(torch.equal(kept[name], again[name]) for name in kept)


def test_a_sampler_that_disagrees_with_the_trainer_stops_the_run(folders, tmp_path, monkeypatch):
    def wrong(*given, finished, **options):
        def told(number, s):
            finished(number, dataclasses.replace(s, logprobs=s.logprobs - 0.5))

        return generate(*given, finished=told, **options)

    monkeypatch.setattr(sampling, "generate", wrong)
    settings = {"steps": 1, "batch_size": 4, "num_generations": 2, "max_completion_length": 8, "eval_prompts": 1,
                "prompt_tokens": 40, "max_clipped_ratio": 1.0, "run_dir": tmp_path / "run", "threads": 1}  # fmt: skip
    with pytest.raises(PenchantError, match="max_logprob_difference=") as caught:
        tune(folders / "model", folders, **settings)
    assert "logprob_difference is 0.5 at step 1, more than 0.1" in str(caught.value)
    assert caught.value.exit_code == 1
    assert not list((tmp_path / "run").glob("checkpoint-*"))
    tune(folders / "model", folders, max_logprob_difference=1, **(settings | {"run_dir": tmp_path / "again"}))


def test_a_folder_of_another_tuning_is_refused_and_the_same_one_goes_on(folders, tmp_path):
    settings = {"steps": 1, "batch_size": 4, "num_generations": 2, "max_completion_length": 8, "eval_prompts": 1,
                "prompt_tokens": 40, "max_clipped_ratio": 1.0, "run_dir": tmp_path / "run", "threads": 1}  # fmt: skip
    first = tune(folders / "model", folders, **settings)
    again = tune(folders / "model", folders, **settings)
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(first.model.state_dict()[name], again.model.state_dict()[name])
    with pytest.raises(InputError, match="run_dir="):
        tune(folders / "model", folders, seed=1, **settings)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stepz": 3}, "stepz"),
        ({"batch_size": 7}, "num_generations"),
        ({"ask": "nice"}, "nice"),
        ({"max_completion_length": 500}, "context"),
        ({"algorithm": "grop"}, "grpo"),
        ({"algorithm_options": {"betta": 1}}, "betta"),
        ({"rewards": "tusk"}, "task"),
        ({"rewards": ["task", "task"]}, "different names"),
    ],
)
def test_a_wrong_option_is_one_clear_line(folders, tmp_path, change, words):
    with pytest.raises(InputError, match=words) as caught:
        tune(folders / "model", folders, run_dir=tmp_path / "run", **change)
    assert "\n" not in str(caught.value)
