"""What a request gets does not depend on the rows beside it, nor on the slot it stands in."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.models.frozen import Frozen
from penchant.sampling.engine import generate

PROMPTS = [[1, 2], [3, 4, 5], [6], list(range(30)), [3, 4, 5], [7] * 12]


def same(a, b):
    return a.ids == b.ids and np.array_equal(a.logprobs, b.logprobs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("slots", [1, 2, 6, 24])
def test_the_same_bits_in_other_company_and_in_another_slot(tiny, dtype, slots):
    model = tiny(hidden_size=64, intermediate_size=96, vocab_size=300).to(dtype)
    frozen = Frozen(model)
    how = {"max_new_tokens": 50, "seed": 9, "slots": slots, "end": [7]}
    alone = [generate(frozen, [p], first=i, **how)[0] for i, p in enumerate(PROMPTS)]
    together = generate(frozen, PROMPTS, **how)
    assert [s.ids for s in together] == [s.ids for s in alone]
    strangers = [[11, 12, 13, 14]] * 7
    shifted = generate(frozen, [*strangers, *PROMPTS, *strangers], seeds=[*range(7), *[50] * 6, *range(7)], **how)
    expected = [generate(frozen, [p], **(how | {"seed": 50}))[0] for p in PROMPTS]
    assert [s.ids for s in shifted[7:13]] == [s.ids for s in expected]
    if frozen.packed:  # where oneDNN is not, rounding may differ
        assert all(map(same, together, alone))
        assert all(map(same, shifted[7:13], expected))


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 39), min_size=1, max_size=40), min_size=1, max_size=12),
    st.integers(1, 5),
    st.integers(1, 20),
)
def test_any_prompts_in_few_slots_give_what_each_gives_alone(prompts, slots, length):
    from penchant.models.config import DecoderConfig
    from penchant.models.decoder import Decoder

    sizes = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    model = Frozen(Decoder(DecoderConfig(initializer_range=0.3, **sizes)).initialise(2))
    how = {"max_new_tokens": length, "end": [0], "insert": {5: 6}, "ban": [6]}
    found = generate(model, prompts, slots=slots, **how)
    for number, (prompt, sample) in enumerate(zip(prompts, found, strict=True)):
        (alone,) = generate(model, [prompt], first=number, **how)
        assert (alone.ids, alone.stop) == (sample.ids, sample.stop)


def test_other_seeds_and_other_requests_draw_otherwise(tiny):
    model = tiny()
    found = generate(model, [[3, 4, 5]] * 8, max_new_tokens=12, seed=10)
    assert len({s.ids for s in found}) == 8
    assert generate(model, [[3, 4, 5]] * 8, max_new_tokens=12, seed=11)[1].ids != found[1].ids
    assert generate(model, [[3, 4, 5]] * 8, max_new_tokens=12, seed=10, first=1)[0].ids == found[1].ids
    seeded = generate(model, [[3, 4, 5]] * 3, max_new_tokens=12, seeds=[4, 10, 4])
    assert seeded[0].ids == seeded[2].ids != seeded[1].ids
    assert seeded[1].ids == found[0].ids


def test_a_shared_prompt_is_run_once(tiny):
    model = Frozen(tiny())
    lengths = []
    states = model.states
    model.states = lambda inputs, *rest: (lengths.append(len(inputs)), states(inputs, *rest))[1]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        generate(model, [[1, 2, 3, 4, 5]] * 8 + [[6, 7]] * 4, max_new_tokens=3, slots=12)
        assert lengths == [7, 12, 12]
        lengths.clear()
        generate(model, [[1, 2, 3, 4, 5], [6, 7]] * 4, max_new_tokens=2, slots=3)
        assert sum(lengths) == 5 + 2 + 8
    finally:
        torch.set_num_threads(before)


def test_two_lanes_give_what_one_gives(tiny):
    model = tiny(hidden_size=64, vocab_size=200)
    prompts = [[i, i + 1] for i in range(10)] * 3
    before, found = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(generate(model, prompts, max_new_tokens=20, end=[3], seed=1))
    torch.set_num_threads(before)
    assert [s.ids for s in found[0]] == [s.ids for s in found[1]]


def test_the_model_that_is_trained_and_its_frozen_twin_give_the_same(tiny):
    model = tiny()
    how = {"max_new_tokens": 9, "seed": 1}
    before = generate(model, [[1, 2]], **how)[0].ids
    assert before == generate(Frozen(model), [[1, 2]], **how)[0].ids
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.mul_(-3)
        model.model.layers[0].self_attn.o_proj.weight.mul_(-3)
    after = generate(model, [[1, 2]], **how)[0].ids
    assert before != after == generate(Frozen(model), [[1, 2]], **how)[0].ids
