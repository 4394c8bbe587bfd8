"""An update from what sampling computed has the gradient of an update that computes it anew."""

import dataclasses

import numpy as np
import pytest
import torch

from penchant.batches.credit import Credited, pack
from penchant.errors import InputError
from penchant.models.quantities import quantities
from penchant.models.replay import Tape, pays, replays, tape_bytes
from penchant.records import Completion, Prompt
from penchant.sampling.engine import generate

FAMILIES = {
    "grouped": {"num_key_value_heads": 2},
    "untied": {"tie_word_embeddings": False},
    "biases and a window": {
        "model_type": "qwen2",
        "sliding_window": 7,
        "layer_types": ("full_attention", "sliding_attention"),
    },
    "norms of heads": {"model_type": "qwen3", "head_dim": 16},
}
PROMPTS = [[1, 2, 3]] * 4 + [[4]] * 4 + [[5, 6, 7, 8, 9, 10, 11]] * 4 + [[4]] * 4


def sampled(model, tape, **changes):
    """Sixteen completions of three prompts, and the batches that they make."""
    options = {"max_new_tokens": 24, "end": (3, 4, 5), "insert": {7: 8}, "temperature": 0.8, "seed": 1} | changes
    found = generate(model, PROMPTS, tape=tape, **options)
    completions = [Completion(s.ids, s.logprobs, s.forced, "", s.stop) for s in found]
    prompts = [Prompt(tuple(ids), "", "") for ids in PROMPTS]
    earns = [~c.forced for c in completions]
    columns = {"advantages": [np.full(len(c.ids), (-1.0) ** i * (1 + i)) for i, c in enumerate(completions)]}
    rollout = Credited(prompts, completions, earns, 4, columns, np.zeros(16, bool))
    return pack(rollout, 5, 2, shared=True, temperature=0.8, banned=(), tape=tape)


def gradients(model, batches):
    """Of the advantages' sum of log-probs, all parameters one after the other; and the log-probs."""
    model.zero_grad(set_to_none=True)
    found = []
    for batch in batches:
        logprobs = quantities(model, batch, ("logprobs",))["logprobs"]
        (logprobs * torch.from_numpy(batch.columns["advantages"])).sum().backward()
        found.append(logprobs.detach())
    return torch.cat([p.grad.flatten() for p in model.parameters()]), torch.cat(found)


def anew(batches):
    """The same batches, with nothing given."""
    return [dataclasses.replace(batch, products=None) for batch in batches]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("slots", [None, 6])
def test_the_gradient_is_that_of_a_forward(tiny, family, threads, slots):
    model = tiny(initializer_range=0.08, **FAMILIES[family])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        tape = Tape()
        tape.clear(40)  # less than there is: the tokens lie on several pages
        batches = sampled(model, tape, slots=slots)
    finally:
        torch.set_num_threads(before)
    assert len({len(b.inputs) for b in batches}) > 1
    found, logprobs = gradients(model, batches)
    wanted, expected = gradients(model, anew(batches))
    assert (logprobs - expected).abs().max() < 1e-5
    assert (found - wanted).norm() <= 1e-5 * wanted.norm()


def test_with_bfloat16_it_is_as_far_off_as_rounding(tiny):
    exact = tiny(initializer_range=0.08)
    rounded = tiny(initializer_range=0.08).to(torch.bfloat16)
    batches = sampled(rounded, Tape())
    exact.load_state_dict({name: value.float() for name, value in rounded.state_dict().items()})
    wanted = gradients(exact, anew(batches))[0]
    replayed, own = (gradients(rounded, some)[0].float() for some in (batches, anew(batches)))
    assert (replayed - wanted).norm() <= 1.2 * (own - wanted).norm()


def test_a_tape_is_used_again_and_gives_what_it_was_given(tiny):
    tape = Tape()
    for count in (3, 5):
        tape.clear(4)
        firsts = [tape.add([torch.full((count, 2), float(n)), torch.full((count, 1), -float(n))]) for n in range(4)]
        places = np.array([first + row for first in firsts for row in range(count)])
        assert tape.bytes >= 4 * count * 3 * 4
        order = np.random.default_rng(0).permutation(len(places))
        read = tape.at(places[order])
        expected = np.repeat(np.arange(4.0), count)[order]
        assert read(0).tolist() == [[x, x] for x in expected]
        assert read(1).flatten().tolist() == (-expected).tolist()
    model = tiny()
    own = Tape()
    sampled(model, own)
    assert own.bytes == tape_bytes(model.config, own.bytes // tape_bytes(model.config, 1, True), True)


def test_who_replays(tiny):
    from penchant.models.lora import add_lora

    model = tiny()
    assert replays(model)
    assert not pays(model, 10)  # too narrow
    wide = tiny(hidden_size=512, num_hidden_layers=1)
    assert pays(wide, 10)
    assert not pays(wide, 1 << 40)
    add_lora(model, rank=2, alpha=4.0, targets=None, seed=0)
    assert not replays(model)
    kept = generate(wide, [[1, 2]], max_new_tokens=2, keep=True)[0].prefix
    with pytest.raises(InputError, match="without prefixes"):
        generate(wide, [[1, 2]], max_new_tokens=2, prefixes=[kept], tape=Tape())
