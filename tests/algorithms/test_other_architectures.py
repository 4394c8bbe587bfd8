"""Rollouts, values, pairs and adapters on models of transformers: GPT-2; T5, BART, Marian (prompts are sources)."""

import sys
from pathlib import Path

import pytest
import torch
import transformers

from penchant.models.load import load_model
from penchant.text.tokenizer import Tokenizer

sys.path.insert(0, str(Path(__file__).parent))
import test_from_rows as rows
import toy


def model_of(family, tokenizer):
    size = {"vocab_size": tokenizer.vocab_size, "eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id,
            "bos_token_id": tokenizer.eos_id, "decoder_start_token_id": tokenizer.pad_id}  # fmt: skip
    torch.manual_seed(0)
    if family == "gpt2":
        size.pop("decoder_start_token_id")
        config = transformers.GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=64, **size)
        return transformers.GPT2LMHeadModel(config)
    if family == "t5":
        config = transformers.T5Config(
            d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, dropout_rate=0.0, **size
        )
        return transformers.T5ForConditionalGeneration(config)
    if family == "marian":
        config = transformers.MarianConfig(d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
                                           decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64,
                                           max_position_embeddings=64, forced_eos_token_id=None, **size)  # fmt: skip
        return transformers.MarianMTModel(config)
    config = transformers.BartConfig(d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
                                     decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64,
                                     max_position_embeddings=64, forced_eos_token_id=None, **size)  # fmt: skip
    return transformers.BartForConditionalGeneration(config)


@pytest.fixture(scope="module", params=["gpt2", "t5", "bart", "marian"])
def at(request, tmp_path_factory):
    root = toy.folders(tmp_path_factory.mktemp(request.param))
    tokenizer = Tokenizer.load(root / "model")
    for path in (root / "model").glob("*"):
        path.unlink()
    model_of(request.param, tokenizer).save_pretrained(root / "model")
    tokenizer.save(root / "model")
    rows.write(root / "pairs.jsonl", rows.rows(60))
    rows.made(root / "pairs.jsonl", root / "data")
    return root


@pytest.mark.parametrize("name", ["grpo", "ppo"])
def test_rollouts(at, tmp_path, name):
    """Sampler and trainer agree, the KL begins at 0, and weights move."""
    toy.tune(at, tmp_path / "run", name, steps=4, batch_size=16, eval_prompts=4, algorithm_options={"beta": 0.1})
    found = toy.rows(tmp_path / "run")
    assert all(row["logprob_difference"] < 1e-5 for row in found if "reward" in row)
    assert found[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert found[-1]["kl"] > 0
    before, after = load_model(at / "model"), load_model(tmp_path / "run" / "model")
    assert not torch.equal(before.head, after.head)
    assert (tmp_path / "run" / "model" / "heads.safetensors").is_file() == (name == "ppo")


def test_pairs_and_likelihood(at, tmp_path):
    for name, more in (("dpo", {}), ("sft", {})):
        rows.tune(at, tmp_path / name, name, steps=20, **more)
        found = toy.rows(tmp_path / name)
        assert found[-1]["eval_loss"] < found[0]["loss"]


def test_adapters(at, tmp_path):
    """On attention and feed-forward, whatever a family calls them; merged, they are what was trained."""
    lora = {"rank": 2, "alpha": 4.0}
    toy.tune(at, tmp_path / "run", "grpo", steps=3, batch_size=16, eval_prompts=4, lora=lora)
    assert toy.rows(tmp_path / "run")[-1]["kl"] > 0
    before, after = load_model(at / "model").state_dict(), load_model(tmp_path / "run" / "model").state_dict()
    moved = {name for name, weight in before.items() if not torch.equal(weight, after[name])}
    assert moved
    names = {"gpt2": ("c_attn", "c_proj", "c_fc"), "t5": (".q.", ".k.", ".v.", ".o.", ".wi", ".wo.")}
    own = next((n for family, n in names.items() if family in str(at)), ("_proj.", ".fc1.", ".fc2."))
    assert all(any(part in name for part in own) for name in moved)
    assert any("fc" in name or "wi" in name for name in moved) and any("attn" in n or "Attention" in n for n in moved)
