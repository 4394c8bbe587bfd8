"""Architectures of transformers behind the decoder's face: their own logits, losses, gradients, folders and texts."""

import json

import numpy as np
import pytest
import torch
import transformers as hf

from penchant.data.pack import masked_batch, next_token_batch, pair_batch
from penchant.errors import CorruptCheckpoint, InputError
from penchant.models.hugging_face import Foreign, kind_of
from penchant.models.load import load_model, save_model, saved_state
from penchant.models.lora import add_lora
from penchant.models.quantities import quantities, sequence_logprobs
from penchant.models.session import begin

V = 97
SMALL = {"vocab_size": V, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
         "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
T5 = {"vocab_size": V, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "pad_token_id": 0,
      "decoder_start_token_id": 0}  # fmt: skip
BART = {"vocab_size": V, "max_position_embeddings": 64, "encoder_layers": 2, "encoder_ffn_dim": 48, "d_model": 32,
        "encoder_attention_heads": 4, "decoder_layers": 2, "decoder_ffn_dim": 48, "decoder_attention_heads": 4,
        "init_std": 0.2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
        "decoder_start_token_id": 2}  # fmt: skip
OPT = {"vocab_size": V, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 48,
       "word_embed_proj_dim": 32, "max_position_embeddings": 64, "pad_token_id": 0, "init_std": 0.2}  # fmt: skip
GPT2 = {"vocab_size": V, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.2,
        "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
FALCON = {k: v for k, v in SMALL.items() if k != "intermediate_size"}
MADE = {
    "gpt2": ("causal", hf.GPT2Config(**GPT2)),
    "neox": ("causal", hf.GPTNeoXConfig(**SMALL, initializer_range=0.2)),
    "opt": ("causal", hf.OPTConfig(**OPT)),
    "falcon": ("causal", hf.FalconConfig(**FALCON, alibi=True)),
    "cohere": ("causal", hf.CohereConfig(**SMALL, logit_scale=0.25)),
    "granite": ("causal", hf.GraniteConfig(**SMALL, logits_scaling=3.0, initializer_range=0.2)),
    "t5": ("seq2seq", hf.T5Config(**T5)),
    "t5-untied": ("seq2seq", hf.T5Config(**T5, tie_word_embeddings=False, feed_forward_proj="gated-gelu")),
    "bart": ("seq2seq", hf.BartConfig(**BART)),
    "bert": ("masked", hf.BertConfig(**SMALL, max_position_embeddings=64, initializer_range=0.2)),
    "roberta": ("masked", hf.RobertaConfig(**SMALL, max_position_embeddings=66, initializer_range=0.2)),
}
AUTO = {
    "causal": hf.AutoModelForCausalLM,
    "seq2seq": hf.AutoModelForSeq2SeqLM,
    "masked": hf.AutoModelForMaskedLM,
}
LENGTHS = [9, 1, 14, 5]


def folder_of(name: str, path):
    """A folder that transformers wrote, of a random model whose biases are no zeros."""
    kind, config = MADE[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AUTO[kind].from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 1:
                    parameter += 0.2 * torch.randn(parameter.shape)
            if hasattr(model, "final_logits_bias"):
                model.final_logits_bias.normal_()
    model.save_pretrained(path)
    return path


def theirs(path, name: str):
    return AUTO[MADE[name][0]].from_pretrained(path).eval()


def ids(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + n).integers(3, V, n)


def batch_of(kind: str):
    if kind == "causal":
        return next_token_batch([ids(n + 1) for n in LENGTHS])
    if kind == "seq2seq":
        start = 2  # BART's; T5's is 0, but any does
        return pair_batch([ids(n) for n in LENGTHS], [ids(n, 50) for n in reversed(LENGTHS)], start)
    return masked_batch([ids(n) for n in LENGTHS], [np.arange(n) % 3 == 0 for n in LENGTHS], 3)


def expected_logprobs(model, kind: str) -> torch.Tensor:
    """Row by row, as a person would ask hf."""
    found = []
    for n, m in zip(LENGTHS, reversed(LENGTHS), strict=True):
        if kind == "causal":
            row = torch.tensor(ids(n + 1))
            logits, labels = model(row[None, :-1]).logits[0], row[1:]
        elif kind == "seq2seq":
            target = torch.tensor(ids(m, 50))
            decoder = torch.cat([torch.tensor([2]), target[:-1]])
            logits = model(input_ids=torch.tensor(ids(n))[None], decoder_input_ids=decoder[None]).logits[0]
            labels = target
        else:
            row = torch.tensor(ids(n))
            hidden = torch.arange(n) % 3 == 0
            logits, labels = model(row.masked_fill(hidden, 3)[None]).logits[0][hidden], row[hidden]
        found.append(torch.log_softmax(logits, -1).gather(1, labels[:, None]).squeeze(1))
    return torch.cat(found)


@pytest.mark.parametrize("name", MADE)
def test_logprobs_and_gradients_are_those_of_transformers(tmp_path, name):
    kind = MADE[name][0]
    reference = theirs(folder_of(name, tmp_path), name)
    ours = load_model(tmp_path)
    assert isinstance(ours, Foreign)
    assert ours.kind == kind
    found = quantities(ours.train(), batch_of(kind), ("logprobs", "entropy"))
    expected = expected_logprobs(reference, kind)
    assert (found["logprobs"] - expected).abs().max() < 1e-4
    weights = torch.rand(len(expected), generator=torch.Generator().manual_seed(1))
    (found["logprobs"] * weights).sum().backward()
    (expected * weights).sum().backward()
    others = dict(reference.named_parameters())
    for key, parameter in ours.inner.named_parameters():
        grad = others[key].grad
        if grad is None:
            assert parameter.grad is None or parameter.grad.norm() == 0, key
        elif "k_proj.bias" not in key and "key.bias" not in key:  # all scores of a query alike: the true gradient is 0
            assert (parameter.grad - grad).norm() <= 1e-5 * grad.norm() + 1e-6, key


@pytest.mark.parametrize("name", ["gpt2", "t5", "bart", "bert", "cohere"])
def test_saved_folders_load_in_transformers_and_come_back(tmp_path, name, capsys):
    kind = MADE[name][0]
    (tmp_path / "saved").mkdir()
    ours = load_model(folder_of(name, tmp_path / "first"))
    assert "slower" in capsys.readouterr().err
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.mul_(1.01)
    before = quantities(ours, batch_of(kind), ("logprobs",))["logprobs"]
    save_model(ours, tmp_path / "saved", suppress=(5,))
    assert (expected_logprobs(theirs(tmp_path / "saved", name), kind) - before).abs().max() < 1e-4
    generation = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    assert generation["suppress_tokens"] == [5]
    if kind == "seq2seq":
        assert generation["decoder_start_token_id"] == ours.config.decoder_start_token_id
    fresh = load_model(tmp_path / "first")
    fresh.load_state_dict(saved_state(fresh, tmp_path / "saved"))
    assert torch.equal(quantities(fresh, batch_of(kind), ("logprobs",))["logprobs"], before)
    assert torch.equal(quantities(load_model(tmp_path / "saved"), batch_of(kind), ("logprobs",))["logprobs"], before)


@pytest.mark.parametrize("name", ["gpt2", "neox", "opt", "falcon", "t5", "bart"])
def test_a_session_writes_what_the_whole_text_says(tmp_path, name):
    model = load_model(folder_of(name, tmp_path))
    prompts, texts = [ids(n) for n in (4, 1, 7)], [ids(5, 90 + n) for n in range(3)]
    session = model.session([p.tolist() for p in prompts])
    states = [session.states]
    for place in range(4):
        states.append(session.step(torch.tensor([t[place] for t in texts])))
    if model.kind == "seq2seq":
        batch = pair_batch(prompts, texts, model.config.decoder_start_token_id)
    else:
        kept = [np.arange(len(p) + 5) >= len(p) for p in prompts]
        batch = next_token_batch([np.concatenate([p, t]) for p, t in zip(prompts, texts, strict=True)], kept)
    expected = quantities(model, batch, ("logprobs",))["logprobs"].view(3, 5)
    found = torch.log_softmax(
        torch.stack(states, 1) @ model.head.T + (0 if model.head_bias is None else model.head_bias), -1
    )
    found = found.gather(2, torch.tensor(np.stack(texts))[:, :, None]).squeeze(2)
    assert (found - expected).abs().max() < 1e-4
    whole = session.step(torch.tensor([7, 8, 9]))
    again = begin(model, [p.tolist() for p in prompts])
    for place in range(2):
        again.step(torch.tensor([t[place] for t in texts]))
    again.keep(torch.tensor([2, 0]))
    for place in range(2, 4):
        again.step(torch.tensor([texts[2][place], texts[0][place]]))
    assert torch.allclose(again.step(torch.tensor([9, 7])), whole[[2, 0]], atol=1e-4)


def test_a_masked_model_writes_no_text(tmp_path):
    with pytest.raises(InputError, match="writes no text"):
        begin(load_model(folder_of("bert", tmp_path)), [[1, 2]])


def test_a_model_that_sees_its_padding_takes_prompts_of_one_length(tmp_path):
    config = hf.RwkvConfig(vocab_size=V, hidden_size=32, num_hidden_layers=2)
    hf.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    model = load_model(tmp_path)
    with pytest.raises(InputError, match="padding"):
        begin(model, [[1, 2, 3], [4, 5]])
    states = begin(model, [[1, 2, 3], [4, 5, 6]]).step(torch.tensor([7, 8]))  # no keys and values: all again
    assert torch.allclose(states[1], begin(model, [[4, 5, 6, 8]]).states[0], atol=1e-4)


def test_sequence_logprobs_and_bfloat16(tmp_path):
    wide = load_model(folder_of("gpt2", tmp_path))
    narrow = load_model(tmp_path, torch.bfloat16)
    assert (narrow.dtype, narrow.device.type) == (torch.bfloat16, "cpu")
    texts = [ids(n) for n in (12, 3, 30)]
    for a, b in zip(sequence_logprobs(wide, texts), sequence_logprobs(narrow, texts), strict=True):
        np.testing.assert_allclose(a, b, atol=0.5)
    save_model(narrow, tmp_path)
    assert load_model(tmp_path).dtype == torch.bfloat16


def test_adapters_go_on_and_are_merged_into_the_folder(tmp_path):
    model = load_model(folder_of("t5", tmp_path / "first"))
    plain = quantities(model, batch_of("seq2seq"), ("logprobs",))["logprobs"]
    add_lora(model.inner, rank=2, targets=("q", "wi"))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "lora_B" in key:
                parameter.normal_(generator=torch.Generator().manual_seed(0))
    changed = quantities(model, batch_of("seq2seq"), ("logprobs",))["logprobs"].detach()
    assert (changed - plain).abs().max() > 0.01
    (tmp_path / "saved").mkdir()
    save_model(model, tmp_path / "saved")
    merged = load_model(tmp_path / "saved")
    assert (quantities(merged, batch_of("seq2seq"), ("logprobs",))["logprobs"] - changed).abs().max() < 1e-4
    state = saved_state(model, tmp_path / "saved")
    assert set(state) == set(model.state_dict())


def test_the_config_says_what_the_house_asks(tmp_path):
    most = {}
    for name in ("gpt2", "t5", "bart", "roberta", "opt"):
        config = load_model(folder_of(name, tmp_path / name)).config
        assert config.vocab_size == V
        most[name] = config.max_position_embeddings
    assert most == {"gpt2": 64, "t5": 1 << 20, "bart": 64, "roberta": 65, "opt": 64}


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, "causal"),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "masked"),
        ({"model_type": "bert", "architectures": ["BertLMHeadModel"]}, "causal"),
        ({"model_type": "bert"}, "masked"),
        ({"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}, "seq2seq"),
        ({"model_type": "bart"}, "seq2seq"),
        ({"model_type": "qwen2_moe", "architectures": ["Qwen2MoeForCausalLM"]}, "causal"),
    ],
)
def test_which_kind_of_model_it_is(raw, kind):
    assert kind_of(raw) == kind


def test_what_cannot_be_loaded_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="'vit'"):
        kind_of({"model_type": "vit"})
    gemma = hf.Gemma2Config(**SMALL, num_key_value_heads=2, head_dim=8)
    hf.AutoModelForCausalLM.from_config(gemma).save_pretrained(tmp_path / "bent")
    with pytest.raises(InputError, match="bends its logits"):
        load_model(tmp_path / "bent")
    hf.BertModel(MADE["bert"][1]).save_pretrained(tmp_path / "headless")
    with pytest.raises(InputError, match="language-modelling head"):
        load_model(tmp_path / "headless")
    folder_of("gpt2", tmp_path / "cut")
    weights = (tmp_path / "cut" / "model.safetensors").read_bytes()
    (tmp_path / "cut" / "model.safetensors").write_bytes(weights[:5000])
    with pytest.raises(CorruptCheckpoint):
        load_model(tmp_path / "cut")
    (tmp_path / "cut" / "model.safetensors").unlink()
    with pytest.raises(InputError, match="safetensors"):
        load_model(tmp_path / "cut")
