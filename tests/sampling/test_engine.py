"""The sampler: agrees with the trainer and with transformers, and keeps to what it was asked for."""

import numpy as np
import pytest
import torch

from penchant.errors import InputError, NotFinite
from penchant.models.load import save_model
from penchant.models.quantities import sequence_logprobs
from penchant.sampling.engine import Options, generate

FAMILIES = {
    "all heads": {"num_key_value_heads": 4},
    "grouped": {"num_key_value_heads": 2},
    "one for all": {"num_key_value_heads": 1},
    "qwen2 window": {
        "model_type": "qwen2",
        "sliding_window": 7,
        "layer_types": ("full_attention", "sliding_attention"),
    },
    "mistral window": {"model_type": "mistral", "sliding_window": 5},
    "qwen3": {"model_type": "qwen3", "head_dim": 16},
    "untied": {"tie_word_embeddings": False},
}


def differences(model, prompts, found, temperature=1.0):
    """Mean and largest difference to what the trainer computes."""
    texts = [[*p, *s.ids] for p, s in zip(prompts, found, strict=True)]
    again = sequence_logprobs(model, texts, temperature)
    parts = [np.abs(a[len(p) - 1 :] - s.logprobs) for a, p, s in zip(again, prompts, found, strict=True)]
    return np.concatenate(parts).mean(), np.concatenate(parts).max()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 0.005)])
def test_logprobs_are_those_of_the_trainer(tiny, family, dtype, limit):
    model = tiny(initializer_range=0.08, **FAMILIES[family]).to(dtype)
    prompts = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10, 11], list(range(39)), [4]]
    found = generate(model, prompts, max_new_tokens=40, seed=3, temperature=0.8)
    assert [len(s.ids) for s in found] == [40] * 5
    assert differences(model, prompts, found, 0.8)[0] <= limit


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_is_what_transformers_generates(tiny, family, tmp_path):
    from transformers import AutoModelForCausalLM

    model = tiny(**FAMILIES[family])
    save_model(model, tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    expected = theirs.generate(
        torch.tensor([[3, 1, 4, 1, 5]]), max_new_tokens=40, do_sample=False, suppress_tokens=None
    )
    (found,) = generate(model, [[3, 1, 4, 1, 5]], max_new_tokens=40, temperature=0)
    assert list(found.ids) == expected[0, 5:].tolist()
    assert found.sampling_logprobs is None


def test_repetition_penalty_min_length_and_two_ends_as_in_transformers(tiny, tmp_path):
    from transformers import AutoModelForCausalLM

    model = tiny()
    save_model(model, tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    (free,) = generate(model, [[3, 1, 4]], max_new_tokens=20, temperature=0, repetition_penalty=1.3)
    ends = [free.ids[2], free.ids[9]]
    how = {"do_sample": False, "suppress_tokens": None, "repetition_penalty": 1.3, "pad_token_id": 0}
    expected = theirs.generate(torch.tensor([[3, 1, 4]]), max_new_tokens=20, min_new_tokens=5, eos_token_id=ends, **how)
    (found,) = generate(
        model, [[3, 1, 4]], max_new_tokens=20, temperature=0, repetition_penalty=1.3, end=ends, min_new_tokens=5
    )
    assert list(found.ids) == expected[0, 3:].tolist()
    assert len(found.ids) > 5
    assert (found.stop == "end") == (found.ids[-1] in ends)


def test_forced_tokens_follow_their_token_and_do_not_count(tiny):
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


def test_forced_tokens_may_follow_one_another_but_not_in_a_circle(tiny):
    model = tiny()
    (found,) = generate(model, [[1, 7]], max_new_tokens=20, seed=0, insert={7: 38, 38: 39}, ban=[38, 39])
    text = [7, *found.ids]
    assert text[1:3] == [38, 39]
    assert all(text[i + 1 : i + 3] == [38, 39] for i, t in enumerate(text[:-2]) if t == 7)
    assert (~found.forced).sum() == 20
    with pytest.raises(InputError, match="circle"):
        generate(model, [[1]], max_new_tokens=2, insert={3: 4, 4: 3})


def test_banned_tokens_never_appear_and_end_tokens_end(tiny):
    ban = list(range(20, 40))
    found = generate(tiny(), [[1]] * 64, max_new_tokens=10, seed=0, ban=ban, end=[3, 5])
    assert not {i for s in found for i in s.ids} & set(ban)
    assert {s.stop for s in found} == {"end", "length"}
    for sample in found:
        assert (sample.ids[-1] in (3, 5)) == (sample.stop == "end")
        assert not {3, 5} & set(sample.ids[:-1])
        assert np.isfinite(sample.logprobs).all()


def test_the_context_ends_a_text_also_where_forced_tokens_took_room(tiny):
    model = tiny(max_position_embeddings=24)
    (found,) = generate(model, [[7] * 10], max_new_tokens=14, insert=dict.fromkeys(range(39), 39), seed=0)
    assert len(found.ids) == 14
    assert found.stop == "length"
    assert found.forced.sum() == 7


def test_warped_draws_have_logprobs_of_their_own(tiny):
    model, prompts = tiny(), [[1, 2, 3]] * 40
    plain = generate(model, prompts, max_new_tokens=6, seed=4)
    assert all(s.sampling_logprobs is None for s in plain)
    for warp in ({"top_k": 3}, {"top_p": 0.5}, {"min_p": 0.3}, {"repetition_penalty": 2.0}):
        found = generate(model, prompts, max_new_tokens=6, seed=4, **warp)
        assert differences(model, prompts, found)[0] < 1e-5  # the policy's own
        assert all((np.abs(s.sampling_logprobs - s.logprobs) > 1e-4).any() for s in found)
        if "repetition_penalty" not in warp:
            assert all((s.sampling_logprobs >= s.logprobs - 1e-6).all() for s in found)
    top = generate(model, prompts, max_new_tokens=6, seed=4, top_k=1)
    assert len({s.ids for s in top}) == 1
    assert np.abs(top[0].sampling_logprobs).max() < 1e-6


def test_likeliest_tokens_and_prompt_logprobs_on_request(tiny):
    model = tiny()
    prompts = [[1, 2, 3, 4], [9], [1, 2, 3, 4], [5, 6]]
    found = generate(model, prompts, max_new_tokens=5, seed=2, top_logprobs=3, prompt_logprobs=True)
    for prompt, sample in zip(prompts, found, strict=True):
        assert sample.top.ids.shape == sample.top.logprobs.shape == (5, 3)
        assert (np.diff(sample.top.logprobs) <= 0).all()
        for ids, logprobs, token, logprob in zip(
            sample.top.ids, sample.top.logprobs, sample.ids, sample.logprobs, strict=True
        ):
            assert (token not in ids) or abs(logprobs[list(ids).index(token)] - logprob) < 1e-6
        np.testing.assert_allclose(sample.prompt_logprobs, sequence_logprobs(model, [prompt])[0], atol=1e-5)


def test_stop_strings_end_a_text_whose_ids_stay_as_sampled(tiny):
    model, letters = tiny(), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN"

    def decode(ids):
        return "".join(letters[i] for i in ids)

    free = generate(model, [[1]] * 20, max_new_tokens=12, seed=5)
    wanted = decode(free[0].ids[4:6])
    found = generate(model, [[1]] * 20, max_new_tokens=12, seed=5, stop=[wanted], decode=decode)
    assert found[0].stop == "stop"
    for before, after in zip(free, found, strict=True):
        text = decode(before.ids)
        cut = text.find(wanted)
        assert decode(after.ids) == (text if cut < 0 else text[: cut + 2])
        assert after.stop == ("length" if cut < 0 else "stop")
    late = generate(model, [[1]], max_new_tokens=12, seed=5, stop=[wanted], decode=decode, min_new_tokens=7)
    assert len(late[0].ids) >= 7
    with pytest.raises(InputError, match="decode="):
        generate(model, [[1]], max_new_tokens=2, stop=["x"])


def test_tokens_are_heard_as_they_come_and_progress_is_told(tiny):
    heard, told = {}, []

    def listen(request, ids, logprobs):
        heard.setdefault(request, []).append((ids, logprobs))

    found = generate(
        tiny(), [[1], [2, 3]] * 20, max_new_tokens=9, end=[3], seed=1, listen=listen, slots=16,
        progress=lambda done, wanted: told.append((done, wanted)),
    )  # fmt: skip
    for number, sample in enumerate(found):
        assert tuple(i for ids, _ in heard[number] for i in ids) == sample.ids
        np.testing.assert_array_equal(np.concatenate([x for _, x in heard[number]]), sample.logprobs)
    assert told == [(i + 1, 40) for i in range(40)]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_failure_in_a_lane_is_raised(tiny, threads):
    def listen(request, ids, logprobs):
        if request == 29:
            raise ValueError("enough")

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with pytest.raises(ValueError, match="enough"):
            generate(tiny(), [[1]] * 30, max_new_tokens=9, listen=listen)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_what_cannot_be_sampled_is_refused_in_one_line(tiny):
    model = tiny(max_position_embeddings=16)
    for words, prompts, how in (
        ("row 2", [[1], []], {}),
        ("context", [[1] * 10], {"max_new_tokens": 7}),
        ("token 40", [[1, 40]], {}),
        ("ban has token 41", [[1]], {"ban": [41]}),
        ("top_p", [[1]], {"top_p": 0}),
        ("min_new_tokens", [[1]], {"min_new_tokens": 5}),
        ("3 seeds", [[1]], {"seeds": [1, 2, 3]}),
    ):
        with pytest.raises(InputError, match=words) as caught:
            generate(model, prompts, **({"max_new_tokens": 2} | how))
        assert "\n" not in str(caught.value)
    with pytest.raises(TypeError, match="top_q"):
        generate(model, [[1]], max_new_tokens=2, top_q=1)
    assert generate(model, [], max_new_tokens=2) == []
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(NotFinite):
        generate(model, [[1]], max_new_tokens=2)


def test_options_can_be_given_whole_and_changed(tiny):
    options = Options(max_new_tokens=4, temperature=0.5, end=(3,))
    model = tiny()
    expected = generate(model, [[1, 2]], max_new_tokens=6, temperature=0.5, end=(3,), seed=1)
    assert generate(model, [[1, 2]], options, max_new_tokens=6, seed=1)[0].ids == expected[0].ids
