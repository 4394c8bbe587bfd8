"""BERT, T5 and BART from a shape: trained, saved as transformers' classes, read there with the same logits."""

import json

import numpy as np
import pytest
import torch

from penchant.contracts import StageContext
from penchant.data.store import write_documents
from penchant.errors import InputError, OptionError, Stopped
from penchant.models.load import load_model
from penchant.records import Document
from penchant.runs.recipe import load_recipe
from penchant.stages.pretrain import Options, run
from penchant.text.tokenizer import Tokenizer

TEXT = "the cat sat\non the mat\nand slept all day\n"
SHORT = {"steps": 6, "batch_size": 8, "context": 32, "eval_steps": 3, "save_steps": 3, "sample_tokens": 0,
         "eval_tokens": 200, "dtype": "float32", "micro_batch_size": 4,
         "optimizer": {"name": "adamw", "learning_rate": 5e-3, "schedule": "constant"},
         "model": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
                   "num_key_value_heads": 2, "max_position_embeddings": 64}}  # fmt: skip
CLASSES = {"bert": "BertForMaskedLM", "t5": "T5ForConditionalGeneration", "bart": "BartForConditionalGeneration"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("architectures")
    ends = tuple(int(i) + 1 for i in np.flatnonzero([c == "\n" for c in TEXT]))
    for split in ("train", "validation"):
        documents = [Document(str(i), TEXT, ends, {"style": (1.0, -1.0, 1.0)}) for i in range(20)]
        write_documents(folder / "data" / f"{split}.parquet", documents)
    quantiles = {"quantiles": {"0.5": 0.0}, "document_quantiles": {"0.5": 0.0}}
    (folder / "data" / "summary.json").write_text(json.dumps({"signals": {"style": quantiles}}))
    Tokenizer.train([TEXT], 280).save(folder / "tokenizer")
    return folder


def pretrain(root, folder, stop=lambda: 0, **changes):
    folder.mkdir(exist_ok=True)
    inputs = {"data": root / "data", "tokenizer": root / "tokenizer"}
    return run(Options(**{**SHORT, **changes}), StageContext("pretrain", folder, inputs, 0, 1, stop, lambda text: None))


def rows(folder):
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if not k.endswith("seconds") and k != "tokens_per_second"} for r in found]


@pytest.mark.parametrize(
    ("architecture", "objective"),
    [
        ("bert", "conditional"),
        ("t5", "mle"),
        ("bart", "rwr"),
        ("bert", "unlikelihood"),
        ("t5", "awr"),
        ("bert", "awr"),
        ("bart", "awr"),
    ],
)
def test_it_learns_and_is_the_class_of_transformers(root, tmp_path, architecture, objective):
    import transformers

    pretrain(root, tmp_path, architecture=architecture, objective=objective)
    losses = [row["eval_loss"] for row in rows(tmp_path) if "eval_loss" in row]
    assert losses[-1] < losses[0] and "bits_per_byte" not in rows(tmp_path)[-1]
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["architectures"] == [CLASSES[architecture]]
    theirs = getattr(transformers, CLASSES[architecture]).from_pretrained(tmp_path / "model").eval()
    ours, tokenizer = load_model(tmp_path / "model"), Tokenizer.load(tmp_path / "model")
    ids = torch.tensor([[tokenizer.eos_id, *tokenizer.encode(TEXT)][:12]])
    extra = {} if architecture == "bert" else {"decoder_input_ids": ids[:, :5]}
    with torch.no_grad():
        wanted = theirs(input_ids=ids, **extra).logits[0]
        states, _ = ours.states(input_ids=ids, **extra)
        bias = 0 if ours.head_bias is None else ours.head_bias
        torch.testing.assert_close(states[0] @ ours.head.T + bias, wanted, rtol=1e-4, atol=1e-4)
    if architecture == "bert":
        assert transformers.AutoTokenizer.from_pretrained(tmp_path / "model").mask_token == "<|mask|>"


def test_a_stopped_run_draws_the_same_noise(root, tmp_path):
    pretrain(root, tmp_path / "whole", architecture="t5")
    steps = iter(range(1, 100))
    with pytest.raises(Stopped):
        pretrain(root, tmp_path / "cut", lambda: 15 if next(steps) == 4 else 0, architecture="t5")
    pretrain(root, tmp_path / "cut", architecture="t5")
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    files = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("cut", "whole")]
    assert files[0] == files[1]


def test_a_recurrent_model_learns_after_tokens_of_its_own(root, tmp_path):
    own = {"architecture": "recurrent", "objective": "conditional", "teacher_forcing_ratio": 0.2}
    pretrain(root, tmp_path / "whole", **own)
    found = rows(tmp_path / "whole")
    losses = [row["eval_loss"] for row in found if "eval_loss" in row]
    assert losses[-1] < losses[0]
    ratios = [row["teacher_forcing_ratio"] for row in found if "teacher_forcing_ratio" in row]
    assert ratios[0] == 1 and ratios[-1] == 0.2
    steps = iter(range(1, 100))
    with pytest.raises(Stopped):
        pretrain(root, tmp_path / "cut", lambda: 15 if next(steps) == 4 else 0, **own)
    pretrain(root, tmp_path / "cut", **own)
    assert rows(tmp_path / "cut") == found
    files = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("cut", "whole")]
    assert files[0] == files[1]
    forced = [row["loss"] for row in rows(tmp_path / "whole") if "loss" in row]
    pretrain(root, tmp_path / "plain", **{**own, "teacher_forcing_ratio": 1.0})
    plain = [row["loss"] for row in rows(tmp_path / "plain") if "loss" in row]
    assert plain[0] == forced[0] and plain[-1] != forced[-1]


def test_teacher_forcing_is_for_sequence_to_sequence_models():
    with pytest.raises(OptionError, match="architecture=t5, bart or recurrent"):
        load_recipe("smoke", ["mle.teacher_forcing_ratio=0.5"], environment={})


def test_an_architecture_is_for_a_model_from_scratch(root, tmp_path):
    pretrain(root, tmp_path / "first", architecture="bert", steps=1)
    inputs = {"data": root / "data", "base": tmp_path / "first" / "model"}
    (tmp_path / "second").mkdir()
    context = StageContext("pretrain", tmp_path / "second", inputs, 0, 1, lambda: 0, lambda text: None)
    with pytest.raises(InputError, match="architecture is for a model from scratch"):
        run(Options(**SHORT, architecture="bert"), context)
