"""The sampler: agrees with the trainer, draws what the distribution says, keeps requests apart."""

import numpy as np
import pytest
import torch

from penchant.errors import InputError
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.quantities import sequence_logprobs
from penchant.sampling.engine import generate
from penchant.sampling.warp import draw, warp


def tiny(seed=1, **changes):
    sizes = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    config = DecoderConfig(**(sizes | {"num_key_value_heads": 2, "initializer_range": 0.2} | changes))
    return Decoder(config).initialise(seed)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_logprobs_are_those_of_the_trainer(dtype, limit):
    model = tiny(initializer_range=0.1).to(dtype)
    prompts = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10, 11]]
    found = generate(model, prompts, max_new_tokens=20, seed=3)
    for prompt, sample in zip(prompts, found, strict=True):
        (again,) = sequence_logprobs(model, [[*prompt, *sample.ids]])
        assert len(sample.ids) == 20
        assert np.abs(again[len(prompt) - 1 :] - sample.logprobs).mean() <= limit


def test_greedy_is_what_transformers_generates(tmp_path):
    from transformers import AutoModelForCausalLM

    from penchant.models.load import save_model

    model = tiny()
    save_model(model, tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    expected = theirs.generate(
        torch.tensor([[3, 1, 4, 1, 5]]), max_new_tokens=25, do_sample=False, suppress_tokens=None
    )
    (found,) = generate(model, [[3, 1, 4, 1, 5]], max_new_tokens=25, temperature=0)
    assert list(found.ids) == expected[0, 5:].tolist()


def test_a_request_draws_the_same_whatever_stands_beside_it():
    model = tiny()
    first = generate(model, [[1, 2], [3, 4, 5], [6]], max_new_tokens=12, seed=9)
    other = generate(model, [[30, 31, 32, 33], [3, 4, 5], [20, 21]], max_new_tokens=12, seed=9)
    assert first[1].ids == other[1].ids
    shifted = generate(model, [[3, 4, 5], [1, 1], [2, 2]], max_new_tokens=12, seed=9, first=1)
    assert shifted[0].ids == first[1].ids
    assert generate(model, [[3, 4, 5]] * 3, max_new_tokens=12, seed=10)[1].ids != first[1].ids


def test_forced_tokens_follow_their_token_and_do_not_count():
    model = tiny()
    found = generate(model, [[1, 7], [1, 2]], max_new_tokens=30, seed=0, insert={7: 39}, ban=[39])
    assert found[0].ids[0] == 39
    assert found[0].forced[0]
    for prompt_end, sample in zip((7, 2), found, strict=True):
        previous = prompt_end
        for token, forced in zip(sample.ids, sample.forced, strict=True):
            assert forced == (previous == 7)
            assert (token == 39) == forced
            previous = token
        assert (~sample.forced).sum() == 30
        assert (sample.logprobs[sample.forced] == 0).all()


def test_banned_tokens_never_appear_and_end_tokens_end():
    model = tiny()
    ban = list(range(20, 40))
    found = generate(model, [[1]] * 64, max_new_tokens=10, seed=0, ban=ban, end=[3])
    assert not {i for s in found for i in s.ids} & set(ban)
    assert {s.stop for s in found} == {"end", "length"}
    for sample in found:
        assert (sample.ids[-1] == 3) == (sample.stop == "end")
        assert 3 not in sample.ids[:-1]


def test_draws_follow_the_distribution():
    logprobs = torch.log(torch.tensor([0.5, 0.0, 0.3, 0.2])).expand(40000, 4)
    uniforms = torch.from_numpy(np.random.default_rng(0).random(40000))
    share = torch.bincount(draw(logprobs, uniforms), minlength=4) / 40000
    assert share[1] == 0
    assert torch.allclose(share, torch.tensor([0.5, 0.0, 0.3, 0.2]), atol=0.01)
    edges = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert draw(torch.log(torch.tensor([0.0, 1.0, 0.0])).expand(2, 3), edges).tolist() == [1, 1]


def test_top_k_and_top_p_keep_the_likeliest():
    logprobs = torch.log(torch.tensor([[0.1, 0.4, 0.2, 0.3]]))
    assert torch.allclose(warp(logprobs, top_k=2).exp(), torch.tensor([[0, 4 / 7, 0, 3 / 7]]), atol=1e-6)
    assert torch.allclose(warp(logprobs, top_p=0.69).exp(), torch.tensor([[0, 4 / 7, 0, 3 / 7]]), atol=1e-6)
    assert torch.allclose(warp(logprobs, top_p=0.71).exp(), torch.tensor([[0, 4 / 9, 2 / 9, 3 / 9]]), atol=1e-6)


def test_an_empty_or_too_long_prompt_is_refused():
    with pytest.raises(InputError, match="row 2"):
        generate(tiny(), [[1], []], max_new_tokens=2)
    with pytest.raises(InputError, match="context"):
        generate(tiny(max_position_embeddings=16), [[1] * 10], max_new_tokens=7)
