"""The recurrent encoder-decoder: torch's own cells, padding unseen, saved and read again, written with."""

import json

import pytest
import torch

from penchant.models.architectures import from_shape
from penchant.models.hugging_face import load_foreign
from penchant.models.load import load_model, save_model
from penchant.sampling.engine import generate

SHAPE = {"hidden_size": 24, "intermediate_size": 0, "num_hidden_layers": 2, "num_attention_heads": 1,
         "max_position_embeddings": 64}  # fmt: skip
IDS = {"eos_token_id": 1, "pad_token_id": 0}


@pytest.fixture
def model():
    return from_shape("recurrent", SHAPE, IDS, 40, 0)


def batch(pairs):
    inputs = torch.tensor([i for source, target in pairs for i in (*source, *target)])
    role = torch.tensor([r for s, t in pairs for r in (*([0] * len(s)), *([1] * len(t)))], dtype=torch.uint8)
    return inputs, inputs, torch.tensor([len(s) + len(t) for s, t in pairs]), role


def test_it_is_the_equations_written_out(model):
    """States of one pair against nn.GRU and attention step by step."""
    inner, source, target = model.inner, [3, 4, 5, 6, 7], [1, 8, 9]
    found = model(*batch([(source, target)]))[len(source) :]
    encoder = torch.nn.GRU(24, 12, 2, batch_first=True, bidirectional=True)
    encoder.load_state_dict(inner.encoder.gru.state_dict())
    decoder = torch.nn.GRU(24, 24, 2, batch_first=True)
    decoder.load_state_dict(inner.decoder.state_dict())
    with torch.no_grad():
        memory = encoder(inner.shared(torch.tensor([source])))[0]
        state = torch.tanh(inner.bridge(memory.mean(1))).reshape(2, 1, 24)
        for step, token in enumerate(target):
            out, state = decoder(inner.shared(torch.tensor([[token]])), state)
            weights = torch.tensor([float(inner.score(out[0, 0]) @ m) for m in memory[0]]).softmax(0)
            context = (weights[:, None] * memory[0]).sum(0)
            wanted = torch.tanh(inner.attended(torch.cat([context, out[0, 0]])))
            torch.testing.assert_close(found[step], wanted, rtol=1e-5, atol=1e-6)


def test_rows_of_a_batch_do_not_see_each_other(model):
    pairs = [([3, 4, 5, 6, 7, 8], [1, 8]), ([9, 3], [1, 4, 5, 6, 7])]
    together = model(*batch(pairs))
    apart = torch.cat([model(*batch([pair])) for pair in pairs])
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-6)


def test_a_saved_one_says_what_it_is_and_is_read_again(model, tmp_path):
    save_model(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == "penchant_recurrent"
    assert config["architectures"] == ["RecurrentForConditionalGeneration"]
    again = load_model(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))
    pairs = [([3, 4, 5], [1, 8])]
    torch.testing.assert_close(again(*batch(pairs)), model(*batch(pairs)))
    assert load_foreign(tmp_path, "seq2seq").kind == "seq2seq"


def test_what_it_writes_has_the_log_probs_that_training_sees(model):
    found = generate(model, [[3, 4, 5, 6], [7, 8]], max_new_tokens=6, temperature=1.0, seed=3)
    for prompt, sample in zip([[3, 4, 5, 6], [7, 8]], found, strict=True):
        states = model(*batch([(prompt, [1, *sample.ids[:-1]])]))[len(prompt) :]
        logprobs = torch.log_softmax(states @ model.head.T, -1)[range(len(sample.ids)), list(sample.ids)]
        torch.testing.assert_close(torch.tensor(sample.logprobs), logprobs.detach(), rtol=1e-4, atol=1e-5)
