"""A conversation goes on from what was kept of it."""

import numpy as np
import pytest
import torch

from penchant.errors import InputError
from penchant.models.frozen import Frozen
from penchant.sampling.engine import generate


@pytest.mark.parametrize("window", [None, 6])
def test_a_conversation_goes_on_without_running_its_beginning_again(tiny, window):
    kind = {"model_type": "mistral", "sliding_window": window} if window else {}
    model = Frozen(tiny(**kind))
    fed = []
    states = model.states
    model.states = lambda inputs, *rest: (fed.append(len(inputs)), states(inputs, *rest))[1]
    prompts = [[1, 2, 3, 4, 5, 6, 7, 8], [9, 10]]
    first = generate(model, prompts, max_new_tokens=40, seed=1, keep=True)
    assert all(len(s.prefix.ids) == len(p) + 39 for s, p in zip(first, prompts, strict=True))
    turns = [[*p, *s.ids, 11, 12, 13] for p, s in zip(prompts, first, strict=True)]
    whole = generate(model, turns, max_new_tokens=10, seed=2)
    fed.clear()
    kept = generate(model, turns, max_new_tokens=10, seed=2, prefixes=[s.prefix for s in first])
    assert fed[:2] == [4, 4]  # the last token of the completion and the three new ones
    for a, b in zip(whole, kept, strict=True):
        assert a.ids == b.ids
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-5)


def test_only_what_is_shared_is_used(tiny):
    model = tiny()
    (first,) = generate(model, [[1, 2, 3, 4]], max_new_tokens=5, seed=1, keep=True)
    for turn in ([1, 2, 9, 9, 9], [7, 7], [1, 2, 3, 4], [1], [*[1, 2, 3, 4], *first.ids, 3]):
        (whole,) = generate(model, [turn], max_new_tokens=6, seed=2)
        (kept,) = generate(model, [turn], max_new_tokens=6, seed=2, prefixes=[first.prefix])
        assert whole.ids == kept.ids
    many = generate(model, [[1, 2, 3, 4, 5], [8]] * 3, max_new_tokens=6, seed=2, prefixes=[first.prefix, None] * 3)
    again = generate(model, [[1, 2, 3, 4, 5], [8]] * 3, max_new_tokens=6, seed=2)
    assert [s.ids for s in many] == [s.ids for s in again]


def test_a_prefix_of_other_weights_is_refused(tiny):
    model = tiny()
    (first,) = generate(model, [[1, 2, 3, 4]], max_new_tokens=5, keep=True)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.01)
    with pytest.raises(InputError, match="other weights"):
        generate(model, [[1, 2, 3, 4, 5]], max_new_tokens=5, prefixes=[first.prefix])
    with pytest.raises(InputError, match="2 prefixes"):
        generate(model, [[1]], max_new_tokens=5, prefixes=[None, None])
