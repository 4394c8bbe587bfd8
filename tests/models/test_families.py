"""Every family of decoders against transformers: logits, gradients, packing, windows, RoPE's scalings, folders."""

import json

import numpy as np
import pytest
import torch

from penchant.data.pack import completion_batch
from penchant.errors import InputError
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.load import load_model, save_model
from penchant.models.quantities import quantities

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


@pytest.mark.parametrize("name", ["llama", "mistral-window", "qwen2-window", "qwen3", "llama-yarn"])
def test_bfloat16_says_what_transformers_says(tmp_path, name):
    save_model(decoder(name), tmp_path)
    exact, narrow, ours = theirs(tmp_path), theirs(tmp_path, torch.bfloat16), load_model(tmp_path, torch.bfloat16)
    texts = list(torch.randint(0, 97, (20, 60), generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        expected, other = (
            exact(torch.stack(texts)).logits.flatten(0, 1),
            narrow(torch.stack(texts)).logits.flatten(0, 1),
        )
        found = flat(ours, texts)
    first, second = expected.topk(2).values.unbind(-1)
    clear = first - second > 0.2  # a seventh of the logits' deviation: closer ones are decided by rounding
    assert clear.float().mean() > 0.6
    assert (found.argmax(-1) == other.argmax(-1))[clear].float().mean() >= 0.99
    assert (found.argmax(-1) == expected.argmax(-1))[clear].float().mean() >= 0.99


def with_cache(model: Decoder, text: torch.Tensor, prompt: int) -> torch.Tensor:
    """Logits of a text whose prompt goes in at once and the rest token by token, keys and values kept."""
    cache: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def attend(layer, q, k, v):
        if layer in cache:
            k, v = torch.cat([cache[layer][0], k]), torch.cat([cache[layer][1], v])
        cache[layer] = k, v
        group = q.shape[1] // k.shape[1]
        here = torch.arange(len(k))[None] - torch.arange(len(k) - len(q), len(k))[:, None]
        seen = (here <= 0) & (here > -(model.window(layer) or len(k)))
        scores = torch.einsum("qhd,khd->hqk", q, k.repeat_interleave(group, 1)) * q.shape[-1] ** -0.5
        weights = torch.softmax(scores.masked_fill(~seen, float("-inf")), -1)
        return torch.einsum("hqk,khd->qhd", weights, v.repeat_interleave(group, 1)).flatten(1)

    out = []
    with torch.no_grad(), model.fused():
        for part in (text[:prompt], *text[prompt:, None]):
            start = sum(map(len, out))
            out.append(model.hidden(part, torch.arange(start, start + len(part)), attend) @ model.head.T)
    return torch.cat(out)


@pytest.mark.parametrize("name", FAMILIES)
def test_prefill_and_steps_give_what_the_whole_text_gives(name):
    model = decoder(name)
    (text,) = rows(30)
    with torch.no_grad():
        assert (with_cache(model, text, 12) - flat(model, [text])).abs().max() < 1e-4


@pytest.mark.parametrize("name", FAMILIES)
def test_a_shared_prompt_gives_what_each_text_gives_alone(name):
    model = decoder(name)
    prompts = [tuple(row.tolist()) for row in rows(12, 12, 12, 3, 3)]
    completions = [tuple(row.tolist()) for row in rows(9, 1, 20, 7, 30)]
    keep = [np.ones(len(c), bool) for c in completions]
    together, alone = (
        quantities(model, completion_batch(prompts, completions, keep, {}, shared=shared), ("logprobs",))["logprobs"]
        for shared in (True, False)
    )
    assert (together - alone).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["mistral-window", "qwen2-window"])
def test_long_texts_keep_to_their_window(tmp_path, name):
    model = decoder(name)
    save_model(model, tmp_path)
    (text,) = rows(1100)  # beyond 1,024 attention takes another way
    with torch.no_grad():
        assert (flat(model, [text]) - theirs(tmp_path)(text[None]).logits[0]).abs().max() < 1e-4


def test_a_windowed_text_forgets():
    model = decoder("mistral-window")  # 3 layers of 5 tokens reach 13 back
    (text,) = rows(30)
    other = text.clone()
    other[0] = (text[0] + 1) % 97
    with torch.no_grad():
        change = (flat(model, [text]) - flat(model, [other])).abs().amax(-1)
    assert change[12] > 1e-4
    assert change[13:].max() == 0


@pytest.mark.parametrize("name", FAMILIES)
def test_a_folder_of_transformers_comes_back_equal(tmp_path, name):
    ours = decoder(name)
    (tmp_path / "ours").mkdir()
    save_model(ours, tmp_path / "ours")
    theirs(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    back = load_model(tmp_path / "theirs")
    assert back.config.layer_types == ours.config.layer_types
    assert back.config.rope_parameters == ours.config.rope_parameters
    for (key, a), (other, b) in zip(ours.state_dict().items(), back.state_dict().items(), strict=True):
        assert key == other
        assert torch.equal(a, b)
    assert torch.equal(flat(ours, rows(25)), flat(back, rows(25)))


def test_older_spellings_and_absent_keys_mean_what_they_mean_to_transformers(tmp_path):
    from transformers import AutoConfig

    save_model(decoder("qwen2"), tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    for key in ("rope_parameters", "layer_types", "tie_word_embeddings", "rms_norm_eps", "max_window_layers"):
        del raw[key]
    raw |= {"rope_scaling": {"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 256},
            "rope_theta": 1e6, "use_sliding_window": True, "sliding_window": 9, "num_hidden_layers": 30}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(raw))
    ours, others = DecoderConfig.from_folder(tmp_path), AutoConfig.from_pretrained(tmp_path)
    for key in ("tie_word_embeddings", "rms_norm_eps", "sliding_window", "max_position_embeddings"):
        assert getattr(ours, key) == getattr(others, key), key
    assert list(ours.layer_types) == others.layer_types
    assert ours.layer_types.count("sliding_attention") == 2
    assert ours.rope_parameters.items() >= {k: v for k, v in others.rope_parameters.items() if k != "type"}.items()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        *[({key: value}, key) for value in (0, -1) for key in SIZES],
        ({"head_dim": -2}, "head_dim"),
        ({"head_dim": 5}, "odd"),
        ({"num_key_value_heads": 3}, "does not divide"),
        ({"hidden_size": 50}, "does not divide"),
        ({"max_position_embeddings": 0}, "max_position_embeddings"),
        ({"rms_norm_eps": 0.0}, "rms_norm_eps"),
        ({"rope_theta": -1.0}, "rope_theta"),
        ({"hidden_size": "48"}, "hidden_size"),
        ({"model_type": "gemma"}, "gemma"),
        ({"sliding_window": 4}, "sliding_window"),
        ({"sliding_window": 0, "model_type": "mistral"}, "sliding_window"),
        ({"mlp_bias": True, "model_type": "qwen3"}, "mlp_bias"),
        ({"layer_types": ("sliding_attention",) * 3, "model_type": "qwen2"}, "sliding_window"),
        ({"layer_types": ("full_attention",), "model_type": "qwen2"}, "layer_types"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "dynamic"),
        ({"rope_parameters": {"rope_type": "linear"}}, "factor"),
        ({"rope_parameters": {**LLAMA3, "high_freq_factor": 0.5}}, "high_freq_factor"),
    ],
)
def test_shapes_that_cannot_be_are_one_clear_line(change, words):
    with pytest.raises(InputError, match=words) as caught:
        DecoderConfig(**(SIZES | change))
    assert "; " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_number_of_parameters_is_counted_right(name):
    model = decoder(name)
    assert model.config.parameters() == sum(p.numel() for p in model.parameters())
