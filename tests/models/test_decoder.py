"""The decoder against transformers: logits, gradients, ragged rows, folders in both directions."""

import json

import numpy as np
import pytest
import torch

from penchant.data.pack import next_token_batch
from penchant.errors import CorruptCheckpoint, InputError
from penchant.models.attention import Layout
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.load import load_model, save_model
from penchant.models.quantities import quantities, sequence_logprobs

SHAPES = [
    {"tie_word_embeddings": True},
    {"tie_word_embeddings": False, "num_key_value_heads": 2, "rope_theta": 500.0},
]


def tiny(**changes: object) -> Decoder:
    sizes = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
    config = DecoderConfig(**(sizes | {"eos_token_id": 0, "bos_token_id": 0, "pad_token_id": 1} | changes))
    return Decoder(config).initialise(1)


@pytest.mark.parametrize("shape", SHAPES)
def test_folder_loads_in_transformers_with_the_same_logits_and_gradients(tmp_path, shape):
    from transformers import AutoModelForCausalLM

    ours = tiny(**shape, initializer_range=0.2)
    save_model(ours, tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager")
    assert type(theirs).__name__ == "LlamaForCausalLM"
    rows = torch.randint(2, 97, (3, 20), generator=torch.Generator().manual_seed(0))
    logits = theirs(rows).logits
    hidden = ours(rows.flatten(), torch.arange(20).repeat(3), torch.full((3,), 20))
    mine = torch.nn.functional.linear(hidden, ours.head).view(3, 20, -1)
    assert (mine - logits).abs().max() < 1e-4
    weights = torch.rand(3, 19, generator=torch.Generator().manual_seed(2))
    expected = torch.log_softmax(logits[:, :-1], -1).gather(2, rows[:, 1:, None]).squeeze(2)
    (expected * weights).sum().backward()
    batch = next_token_batch(list(rows.numpy()))
    (quantities(ours, batch, ("logprobs",))["logprobs"] * weights.flatten()).sum().backward()
    grads = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        reference = grads[name].grad
        assert (parameter.grad - reference).norm() <= 1e-5 * reference.norm(), name


def test_the_same_parameters_come_back_from_a_transformers_folder(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False)  # fmt: skip
    theirs = LlamaForCausalLM(config)
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    rows = torch.randint(0, 97, (2, 15))
    mine = torch.nn.functional.linear(
        ours(rows.flatten(), torch.arange(15).repeat(2), torch.tensor([15, 15])), ours.head
    )
    assert (mine.view(2, 15, -1) - theirs(rows).logits).abs().max() < 1e-4


def test_bfloat16_agrees_with_float32_on_the_likeliest_token(tmp_path):
    ours = tiny(initializer_range=0.3)
    save_model(ours, tmp_path)
    narrow = load_model(tmp_path, torch.bfloat16)
    rows = torch.randint(0, 97, (600,), generator=torch.Generator().manual_seed(0))
    arguments = (rows, torch.arange(60).repeat(10), torch.full((10,), 60))
    wide_logits = ours(*arguments) @ ours.head.T
    narrow_logits = (narrow(*arguments) @ narrow.head.T).float()
    top = wide_logits.topk(2).values
    clear = top[:, 0] - top[:, 1] > 0.1  # where the first two are closer than bf16's rounding there is no right answer
    assert clear.float().mean() > 0.5
    assert (wide_logits.argmax(-1) == narrow_logits.argmax(-1))[clear].float().mean() >= 0.99


def test_ragged_rows_give_what_each_row_gives_alone():
    model = tiny(num_key_value_heads=2)
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 97, n) for n in (2, 17, 5, 30, 30)]
    together = sequence_logprobs(model, rows, tokens=10**6)
    for row, found in zip(rows, together, strict=True):
        (alone,) = sequence_logprobs(model, [row])
        assert found.shape == (len(row) - 1,)
        np.testing.assert_allclose(found, alone, atol=1e-5)


def test_a_later_token_does_not_change_an_earlier_logprob():
    model = tiny()
    first = sequence_logprobs(model, [[5, 6, 7, 8]])[0]
    other = sequence_logprobs(model, [[5, 6, 7, 90]])[0]
    np.testing.assert_allclose(first[:2], other[:2], atol=1e-6)


def test_layout_unfolds_and_folds_back():
    lengths = torch.tensor([3, 1, 4])
    layout = Layout.of(lengths, torch.float32)
    flat = torch.randn(8, 2, 5)
    rows = layout.unfold(flat)
    assert rows.shape == (3, 2, 4, 5)
    assert torch.equal(layout.fold(rows), flat.reshape(8, 10))


def test_temperature_bans_and_entropy_against_a_derivation():
    model = tiny(initializer_range=0.3).double()
    batch = next_token_batch([np.array([3, 4, 5, 6, 7])], temperature=0.7, banned=(9, 10))
    found = quantities(model, batch, ("logprobs", "entropy"))
    logits = (model(torch.tensor([3, 4, 5, 6]), torch.arange(4), torch.tensor([4])) @ model.head.T / 0.7).float()
    logits[:, [9, 10]] = float("-inf")
    p = torch.softmax(logits, -1)
    expected = -(p * torch.log(p.clamp_min(1e-45))).sum(-1)
    assert torch.allclose(found["logprobs"], torch.log(p)[range(4), [4, 5, 6, 7]], atol=1e-5)
    assert torch.allclose(found["entropy"], expected, atol=1e-5)
    assert torch.autograd.grad(expected.sum(), model.model.norm.weight, retain_graph=True)[0].norm() > 0
    mine = torch.autograd.grad(found["entropy"].sum(), model.model.norm.weight)[0]
    reference = torch.autograd.grad(expected.sum(), model.model.norm.weight)[0]
    assert torch.allclose(mine, reference, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda f: (f / "config.json").unlink(), InputError, "config.json"),
        (lambda f: (f / "model.safetensors").unlink(), InputError, "safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:5000]),
         CorruptCheckpoint, "cannot be read"),
        (lambda f: (f / "config.json").write_text(
            json.dumps(json.loads((f / "config.json").read_text()) | {"intermediate_size": 64})),
         CorruptCheckpoint, "config"),
        (lambda f: (f / "config.json").write_text(
            json.dumps(json.loads((f / "config.json").read_text()) | {"model_type": "vit"})), InputError, "vit"),
    ],
)  # fmt: skip
def test_a_damaged_folder_is_one_clear_line(tmp_path, change, error, words):
    save_model(tiny(), tmp_path)
    change(tmp_path)
    with pytest.raises(error, match=words) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
