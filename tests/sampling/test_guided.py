"""Guided sampling: its distribution by hand, its two ends, and what it refuses."""

import numpy as np
import pytest
import torch

from penchant.errors import InputError
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.sampling.engine import generate
from penchant.sampling.guided import generate_guided

VOCABULARY = 24
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 96}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return Decoder(DecoderConfig(vocab_size=VOCABULARY, initializer_range=0.3, **SIZES)).initialise(1)


PROMPTS = [[1, 5, 6, 7], [1, 2, 9], [1, 3, 4, 8, 9, 10, 11]]
OTHERS = [[1, 6, 7], [1, 9], [1, 8, 9, 10, 11]]


def logits(model, ids):
    with torch.no_grad():
        states = model(torch.tensor(ids), torch.arange(len(ids)), torch.tensor([len(ids)]))
        return (states[-1] @ model.head.T).double().numpy()


@pytest.mark.parametrize("guidance", [0.0, 0.5, 2.5])
def test_log_probs_are_those_of_both_models_combined(model, guidance):
    """Each step of each text, from whole forwards of both prompts: other + g (own - other), temperature, bans."""
    how = {"max_new_tokens": 12, "temperature": 0.8, "ban": (3,), "end": (0,)}
    found = generate_guided(model, PROMPTS * 3, OTHERS * 3, guidance, seed=4, **how)
    assert len({len(f.ids) for f in found}) > 1  # some end earlier: rows are dropped on the way
    for own, other, result in zip(PROMPTS * 3, OTHERS * 3, found, strict=True):
        for t, (token, logprob) in enumerate(zip(result.ids, result.logprobs, strict=True)):
            a, b = (logits(model, [*prompt, *result.ids[:t]]) for prompt in (own, other))
            scores = (b + guidance * (a - b)) / 0.8
            scores[3] = -np.inf
            wanted = scores[token] - np.log(np.exp(scores - scores.max()).sum()) - scores.max()
            assert logprob == pytest.approx(wanted, abs=2e-4)


def test_its_ends_are_plain_sampling(model):
    """With 1 its own prompt's texts, with 0 the other's, with the same numbers drawn."""
    how = {"max_new_tokens": 20, "temperature": 1.0, "end": (0,), "seed": 7, "first": 3}
    for guidance, prompts in ((1.0, PROMPTS), (0.0, OTHERS)):
        plain = generate(model, prompts, **how)
        found = generate_guided(model, PROMPTS, OTHERS, guidance, **how)
        assert [f.ids for f in found] == [p.ids for p in plain]
        assert [f.stop for f in found] == [p.stop for p in plain]


def test_more_guidance_leaves_the_other_further_behind(model):
    """The texts' mean log-probability after their own prompt over that after the other rises with guidance."""
    leads = []
    for guidance in (0.0, 1.0, 3.0):
        found = generate_guided(model, PROMPTS * 12, OTHERS * 12, guidance, seed=1, max_new_tokens=5)
        gap = 0.0
        for own, other, result in zip(PROMPTS * 12, OTHERS * 12, found, strict=True):
            for t, token in enumerate(result.ids):
                for sign, prompt in ((1, own), (-1, other)):
                    x = logits(model, [*prompt, *result.ids[:t]])
                    gap += sign * (x[token] - np.log(np.exp(x).sum()))
        leads.append(gap)
    assert leads == sorted(leads) and leads[0] < 0 < leads[2]


def test_what_is_refused(model):
    with pytest.raises(InputError, match="2 other prompts for 3"):
        generate_guided(model, PROMPTS, OTHERS[:2], 2.0, max_new_tokens=2)
    with pytest.raises(InputError, match="guidance nan"):
        generate_guided(model, PROMPTS, OTHERS, float("nan"), max_new_tokens=2)
    with pytest.raises(InputError, match="pass the model's context of 96"):
        generate_guided(model, PROMPTS, OTHERS, 2.0, max_new_tokens=95)
    with pytest.raises(InputError, match="a decoder that Penchant reads itself"):
        generate_guided(object(), PROMPTS, OTHERS, 2.0, max_new_tokens=2)
