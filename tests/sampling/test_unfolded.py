"""Models of transformers behind the sampler's face: what they generate themselves, drawn, stopped and heard as ours."""

import numpy as np
import pytest
import torch
import transformers as hf

from penchant.errors import InputError
from penchant.models.hugging_face import Foreign
from penchant.models.quantities import sequence_logprobs
from penchant.sampling.engine import generate

V = 61
CAUSAL = {
    "gpt2": hf.GPT2Config(vocab_size=V, n_positions=64, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3,
                          bos_token_id=1, eos_token_id=2),
    "neox": hf.GPTNeoXConfig(vocab_size=V, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                             intermediate_size=48, initializer_range=0.3, max_position_embeddings=64),
}  # fmt: skip
SEQ2SEQ = {
    "t5": hf.T5Config(vocab_size=V, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, pad_token_id=0,
                      decoder_start_token_id=0, eos_token_id=2),
    "bart": hf.BartConfig(vocab_size=V, max_position_embeddings=64, encoder_layers=2, encoder_ffn_dim=48, d_model=32,
                          encoder_attention_heads=4, decoder_layers=2, decoder_ffn_dim=48, decoder_attention_heads=4,
                          init_std=0.3, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=2,
                          forced_eos_token_id=None),
}  # fmt: skip
PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13, 14], [5, 6, 7], [20] * 10]


def pair(name):
    """transformers' model, and the same behind our face."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = CAUSAL.get(name) or SEQ2SEQ[name]
        auto = hf.AutoModelForCausalLM if name in CAUSAL else hf.AutoModelForSeq2SeqLM
        theirs = auto.from_config(config).eval()
        ours = auto.from_config(config).eval()
    ours.load_state_dict(theirs.state_dict())
    return theirs, Foreign(ours, "causal" if name in CAUSAL else "seq2seq")


@pytest.mark.parametrize("name", [*CAUSAL, *SEQ2SEQ])
def test_greedy_is_what_transformers_generates(name):
    theirs, ours = pair(name)
    found = generate(ours, PROMPTS, max_new_tokens=15, temperature=0, slots=3)
    for prompt, sample in zip(PROMPTS, found, strict=True):
        ids = torch.tensor([prompt])
        out = theirs.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=15, min_new_tokens=15,
                              do_sample=False, eos_token_id=None, pad_token_id=0)  # fmt: skip
        expected = out[0, len(prompt) :] if name in CAUSAL else out[0, 1:]
        assert list(sample.ids) == expected.tolist()


@pytest.mark.parametrize("name", CAUSAL)
def test_draws_ends_and_logprobs_as_with_our_own(name):
    _, ours = pair(name)
    heard = []
    how = {"max_new_tokens": 12, "seed": 4, "end": list(range(10, 20)), "insert": {7: 40}, "ban": [40]}
    found = generate(
        ours, PROMPTS * 4, listen=lambda i, ids, _: heard.append((i, *ids)), slots=7, prompt_logprobs=True, **how
    )
    assert found[0].ids[0] == 40 and found[0].forced[0]
    assert {s.stop for s in found} == {"end", "length"}
    for number, (prompt, sample) in enumerate(zip(PROMPTS * 4, found, strict=True)):
        (alone,) = generate(ours, [prompt], first=number, **how)
        assert alone.ids == sample.ids
        assert [i for n, i in heard if n == number] == list(sample.ids)
        (again,) = sequence_logprobs(ours, [[*prompt, *sample.ids]])
        np.testing.assert_allclose(sample.prompt_logprobs, again[: len(prompt) - 1], atol=1e-4)
    free = generate(ours, PROMPTS, max_new_tokens=12, seed=4)
    for prompt, sample in zip(PROMPTS, free, strict=True):
        (again,) = sequence_logprobs(ours, [[*prompt, *sample.ids]])
        assert np.abs(again[len(prompt) - 1 :] - sample.logprobs).mean() < 1e-5


@pytest.mark.parametrize("name", SEQ2SEQ)
def test_a_target_is_drawn_from_what_its_source_says(name):
    theirs, ours = pair(name)
    found = generate(ours, PROMPTS * 2, max_new_tokens=10, seed=1, repetition_penalty=1.2)
    start = ours.config.decoder_start_token_id
    for prompt, sample in zip(PROMPTS * 2, found, strict=True):
        with torch.no_grad():
            logits = theirs(input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([[start, *sample.ids]]))
        expected = torch.log_softmax(logits.logits[0, :-1], -1).gather(1, torch.tensor(sample.ids)[:, None])
        np.testing.assert_allclose(sample.logprobs, expected.squeeze(1).numpy(), atol=1e-4)
        assert sample.sampling_logprobs is not None
    with pytest.raises(InputError, match="prompt_logprobs"):
        generate(ours, PROMPTS, max_new_tokens=3, prompt_logprobs=True)


def test_a_model_that_takes_padding_for_text_gets_prompts_of_one_length_at_a_time():
    inner = hf.AutoModelForCausalLM.from_config(hf.RwkvConfig(vocab_size=V, hidden_size=32, num_hidden_layers=2))
    ours = Foreign(inner, "causal")
    together = generate(ours, PROMPTS, max_new_tokens=6, seed=3)
    for number, prompt in enumerate(PROMPTS):
        assert together[number].ids == generate(ours, [prompt], max_new_tokens=6, seed=3, first=number)[0].ids


def test_what_it_cannot_do_is_refused():
    _, ours = pair("gpt2")
    with pytest.raises(InputError, match="keep"):
        generate(ours, PROMPTS, max_new_tokens=3, keep=True)
    with pytest.raises(InputError, match="context"):
        generate(ours, [[1] * 60], max_new_tokens=10)
    masked = hf.BertConfig(vocab_size=V, hidden_size=32, num_hidden_layers=1, num_attention_heads=4,
                           intermediate_size=48)  # fmt: skip
    with pytest.raises(InputError, match="masked"):
        generate(Foreign(hf.AutoModelForMaskedLM.from_config(masked), "masked"), PROMPTS, max_new_tokens=3)
