"""Heads: they begin at 0, have gradients of their own, and are saved beside the model."""

import json

import numpy as np
import pytest
import torch

from penchant.data.pack import next_token_batch
from penchant.errors import CorruptCheckpoint
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.heads import FILE, add_heads, load_heads
from penchant.models.load import load_model, save_model, saved_state
from penchant.models.quantities import quantities
from penchant.runtime.launch import Place
from penchant.runtime.mesh import Mesh

CONFIG = DecoderConfig(vocab_size=20, hidden_size=16, intermediate_size=16, num_hidden_layers=1, initializer_range=0.3)
ROWS = [np.array([1, 5, 3, 2]), np.array([4, 4, 9])]


def model():
    made = Decoder(CONFIG).initialise(0)
    add_heads(made, {"value": 1, "q": 0})
    return made


def test_heads_begin_at_zero_and_answer_each_label():
    made, batch = model(), next_token_batch(ROWS)
    assert (quantities(made, batch, ("values",))["values"] == 0).all()
    with torch.no_grad():
        made.heads["value"].weight.normal_()
        made.heads["value"].bias.fill_(0.5)
    found = quantities(made, batch, ("logprobs", "values"))
    states = made(*(torch.from_numpy(getattr(batch, name)) for name in ("inputs", "positions", "lengths")))
    expected = states[batch.at] @ made.heads["value"].weight[0] + 0.5
    torch.testing.assert_close(found["values"], expected)
    assert made.heads["q"].weight.shape == (20, 16)
    found["values"].sum().backward()
    assert made.heads["value"].weight.grad.abs().sum() > 0
    assert made.model.layers[0].mlp.up_proj.weight.grad.abs().sum() > 0


def test_row_parallel_threads_add_up_the_gradients_of_heads():
    made, batches = model(), [next_token_batch([row]) for row in ROWS]
    with torch.no_grad():
        made.heads["value"].weight.normal_()
    mesh = Mesh(2, "cpu", Place())
    mesh.each(made, batches, lambda m, b: quantities(m, b, ("values",))["values"].sum().backward())
    apart = made.heads["value"].weight.grad.clone()
    made.zero_grad()
    quantities(made, next_token_batch(ROWS), ("values",))["values"].sum().backward()
    torch.testing.assert_close(apart, made.heads["value"].weight.grad)


def test_heads_are_saved_beside_the_model_and_transformers_does_not_see_them(tmp_path):
    made = model()
    with torch.no_grad():
        made.heads["value"].weight.normal_()
    save_model(made, tmp_path)
    assert (tmp_path / FILE).is_file()
    plain = load_model(tmp_path)
    assert not hasattr(plain, "heads")
    assert load_heads(plain, tmp_path)
    for (name, one), (_, other) in zip(made.named_parameters(), plain.named_parameters(), strict=True):
        assert torch.equal(one, other), name
    assert saved_state(made, tmp_path).keys() == made.state_dict().keys()
    from transformers import AutoModelForCausalLM

    _, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]


def test_heads_of_another_model_are_refused(tmp_path):
    save_model(model(), tmp_path)
    other = Decoder(DecoderConfig(**{**json.loads(json.dumps(CONFIG.__dict__)), "hidden_size": 32})).initialise(0)
    with pytest.raises(CorruptCheckpoint, match="heads do not fit"):
        load_heads(other, tmp_path)
    assert not load_heads(other, tmp_path / "nowhere")
