"""Adapters: they are called and not bypassed, equal peft on transformers, merge, and come back from their folder."""

import copy
import importlib.util

import peft
import pytest
import torch

from penchant.errors import CorruptCheckpoint, InputError, MissingExtra
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.load import load_model, save_model
from penchant.models.lora import TARGETS, adapted, add_lora, load_lora, merge_lora, merged_state, save_lora
from penchant.sampling.engine import generate

IDS = torch.randint(0, 97, (40,), generator=torch.Generator().manual_seed(0))


def decoder(dtype: torch.dtype = torch.float32, **changes: object) -> Decoder:
    sizes = {
        "vocab_size": 97, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "model_type": "qwen2",
        "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2,
    }  # fmt: skip
    return Decoder(DecoderConfig(**(sizes | changes))).initialise(1).to(dtype)


def filled(model: Decoder) -> Decoder:
    """The same with adapters that do something."""
    noise = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=noise))
    return model


def logits(model: Decoder) -> torch.Tensor:
    return model(IDS, torch.arange(20).repeat(2), torch.tensor([20, 20])) @ model.head.T


@pytest.mark.parametrize("targets", [TARGETS, ("q_proj",), ("up_proj",), ("o_proj",), ("down_proj",)])
def test_an_adapter_changes_the_logits_as_in_transformers(tmp_path, targets):
    from transformers import AutoModelForCausalLM

    ours = decoder()
    plain = logits(ours)
    save_model(ours, tmp_path)
    add_lora(ours, rank=4, alpha=8, targets=targets)
    assert torch.allclose(logits(ours), plain, atol=1e-6)  # B is 0
    save_lora(filled(ours), tmp_path / "adapter", base=str(tmp_path))
    found = logits(ours)
    assert (found - plain).abs().max() > 0.1
    base = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager")
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    assert (theirs(IDS.view(2, 20)).logits.flatten(0, 1) - found).abs().max() < 1e-4
    again = load_model(tmp_path)
    load_lora(again, tmp_path / "adapter")
    assert torch.equal(logits(again), found)


def test_only_adapters_have_gradients_and_they_equal_those_of_peft(tmp_path):
    from transformers import AutoModelForCausalLM

    ours = decoder()
    save_model(ours, tmp_path)
    add_lora(ours, rank=4)
    save_lora(filled(ours), tmp_path / "adapter")
    torch.log_softmax(logits(ours), -1)[:, 5].sum().backward()
    base = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager")
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "adapter", is_trainable=True)
    torch.log_softmax(theirs(IDS.view(2, 20)).logits, -1)[..., 5].sum().backward()
    others = {k.removeprefix("base_model.model."): p.grad for k, p in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        if "lora_" not in name:
            assert parameter.grad is None and not parameter.requires_grad, name
        else:
            assert (parameter.grad - others[name]).norm() <= 1e-5 * others[name].norm(), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merging_gives_a_plain_folder_with_the_same_logits(tmp_path, dtype):
    model = decoder(dtype)
    add_lora(model, rank=4, alpha=4)
    expected = logits(filled(model)).detach().float()
    kept = copy.deepcopy(model.state_dict())
    save_model(model, tmp_path)  # merged on its way
    assert all(torch.equal(kept[k], v) for k, v in model.state_dict().items())
    saved = load_model(tmp_path)
    assert not adapted(saved)
    assert (tmp_path / "adapter" / "adapter_config.json").is_file()
    merge_lora(model)
    assert set(model.state_dict()) == set(decoder().state_dict())
    assert all(torch.equal(saved.state_dict()[k], v) for k, v in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())
    near = 1e-4 if dtype == torch.float32 else 0.3
    assert (logits(saved).float() - expected).abs().max() < near
    add_lora(model, rank=2)  # and it can be adapted again


def test_peft_itself_can_wrap_a_decoder():
    model = decoder()
    plain = logits(model)
    wrapped = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=["q_proj", "gate_proj"]))
    filled(model)
    found = wrapped(IDS, torch.arange(20).repeat(2), torch.tensor([20, 20])) @ wrapped.head.T
    assert (found - plain).abs().max() > 0.1
    merged = wrapped.merge_and_unload()
    assert isinstance(merged, Decoder)
    assert (logits(merged) - found).abs().max() < 1e-4


def test_the_sampler_speaks_with_the_adapters_voice(tmp_path):
    model = decoder()
    add_lora(model, rank=4)
    before = generate(model, [[1, 2, 3]], max_new_tokens=8, temperature=0)[0]
    after = generate(filled(model), [[1, 2, 3]], max_new_tokens=8, temperature=0)[0]
    assert before.ids != after.ids
    merge_lora(model)
    merged = generate(model, [[1, 2, 3]], max_new_tokens=8, temperature=0)[0]
    assert merged.ids == after.ids
    assert abs(merged.logprobs - after.logprobs).max() < 1e-4


def test_a_seed_gives_the_same_adapter_and_leaves_the_random_state_alone():
    one, other = decoder(), decoder()
    state = torch.random.get_rng_state()
    add_lora(one, seed=5)
    assert torch.equal(torch.random.get_rng_state(), state)
    add_lora(other, seed=5)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert set(merged_state(one)) == set(decoder().state_dict())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rank": 0}, "rank 0"),
        ({"alpha": 0.0}, "alpha"),
        ({"dropout": 1.0}, "dropout"),
        ({"targets": ("lm_head",)}, "lm_head"),
        ({"targets": ("query",)}, "query.*q_proj"),
        ({"targets": ()}, "nothing"),
    ],
)
def test_what_cannot_be_is_one_clear_line(arguments, words):
    model = decoder(tie_word_embeddings=False)
    with pytest.raises(InputError, match=words):
        add_lora(model, **arguments)
    assert not adapted(model)


def test_adapters_that_do_not_fit_are_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="adapter_config"):
        load_lora(decoder(), tmp_path)
    model = decoder()
    add_lora(model, rank=4)
    with pytest.raises(InputError, match="already"):
        add_lora(model)
    save_lora(model, tmp_path)
    with pytest.raises(CorruptCheckpoint, match="size mismatch"):
        load_lora(decoder(hidden_size=32), tmp_path)
    with pytest.raises(CorruptCheckpoint, match="missing"):
        load_lora(decoder(num_hidden_layers=3), tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"short")
    with pytest.raises(CorruptCheckpoint, match="cannot be read"):
        load_lora(decoder(), tmp_path)
    peft.LoraConfig(r=2, target_modules=["lm_head"]).save_pretrained(tmp_path / "head")
    with pytest.raises(InputError, match="lm_head"):
        load_lora(decoder(), tmp_path / "head")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "peft" else find(name, *a))
    with pytest.raises(MissingExtra, match=r"penchant\[lora\]"):
        add_lora(decoder())
