"""Every family of decoders against transformers: logits, gradients, packing, windows, RoPE's scalings, folders."""


import pytest
import torch

from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.load import save_model

SIZES = {"vocab_size": 97, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3,
         "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 16}  # fmt: skip
FAMILIES = {
    "llama": {"rope_theta": 500.0},
    "llama-biases": {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False},
    "llama-head": {"head_dim": 16, "num_key_value_heads": 1},
    "llama-linear": {"rope_parameters": {"rope_type": "linear", "factor": 3.0}},
    "llama-llama3": {"rope_parameters": LLAMA3},
    "llama-yarn": {"rope_parameters": YARN, "max_position_embeddings": 64},
    "llama-yarn-scale": {"rope_parameters": {**YARN, "mscale": 0.7, "mscale_all_dim": 1.0, "truncate": False}},
    "llama-yarn-factor": {"rope_parameters": {**YARN, "attention_factor": 1.3, "beta_fast": 16, "beta_slow": 2}},
    "mistral": {"model_type": "mistral", "tie_word_embeddings": False},
    "mistral-window": {"model_type": "mistral", "sliding_window": 5, "head_dim": 16},
    "qwen2": {"model_type": "qwen2", "num_key_value_heads": 4},
    "qwen2-window": {"model_type": "qwen2", "sliding_window": 7,
                     "layer_types": ("full_attention", "sliding_attention", "sliding_attention")},
    "qwen3": {"model_type": "qwen3", "head_dim": 16},
    "qwen3-biases": {"model_type": "qwen3", "attention_bias": True, "rope_parameters": YARN, "sliding_window": 1,
                     "layer_types": ("sliding_attention", "full_attention", "full_attention")},
}  # fmt: skip
CLASS = {
    "llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM",
}  # fmt: skip


def decoder(name: str) -> Decoder:
    """A random decoder whose biases and gains are no zeros and ones either."""
    model = Decoder(DecoderConfig(**(SIZES | {"initializer_range": 0.2} | FAMILIES[name]))).initialise(1)
    noise = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.3 * torch.randn(parameter.shape, generator=noise)
    return model


def theirs(folder, dtype=torch.float32):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=dtype)


def flat(model: Decoder, rows: list[torch.Tensor]) -> torch.Tensor:
    """Logits [T, vocabulary] of rows packed one after the other."""
    positions = torch.cat([torch.arange(len(row)) for row in rows])
    return model(torch.cat(rows), positions, torch.tensor([len(r) for r in rows])) @ model.head.T


def rows(*lengths: int) -> list[torch.Tensor]:
    return [torch.randint(0, 97, (n,), generator=torch.Generator().manual_seed(n)) for n in lengths]


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_and_gradients_equal_those_of_transformers(tmp_path, name):
    ours = decoder(name)
    save_model(ours, tmp_path)
    reference = theirs(tmp_path)
    assert type(reference).__name__ == CLASS[ours.config.model_type]
    texts = rows(40, 3, 17)
    expected = torch.cat([reference(row[None]).logits[0] for row in texts])
    found = flat(ours, texts)
    assert (found - expected).abs().max() < 1e-4
    weights = torch.rand(found.shape, generator=torch.Generator().manual_seed(3))
    (torch.log_softmax(found, -1) * weights).sum().backward()
    (torch.log_softmax(expected, -1) * weights).sum().backward()
    others = dict(reference.named_parameters())
    assert set(others) == {n for n, _ in ours.named_parameters()}
    for key, parameter in ours.named_parameters():
        assert (parameter.grad - others[key].grad).norm() <= 1e-5 * others[key].grad.norm(), key
