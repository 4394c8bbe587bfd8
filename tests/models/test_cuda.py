"""On CUDA: the flash kernel against float32 on the CPU, the captured sampler, and a run from end to end. `make gpu`."""

import copy

import numpy as np
import pytest
import torch

from penchant.data.pack import next_token_batch
from penchant.models import flash
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.quantities import quantities, sequence_logprobs
from penchant.runtime import cards
from penchant.sampling import engine, graph
from penchant.sampling.graph import Step

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

SHAPE = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
}


def made(**changes):
    return Decoder(DecoderConfig(**(SHAPE | changes))).initialise(3)


def shared_prompts(seed=0):
    """Two prompts of 5 and 9 tokens, three continuations each, as `forward` takes them."""
    rng = np.random.default_rng(seed)
    lengths = torch.tensor([5, 9, 3, 7, 1, 12, 2, 6])
    prefix = torch.tensor([-1, -1, 0, 0, 0, 1, 1, 1])
    starts = [0, 0, 5, 5, 5, 9, 9, 9]
    positions = torch.cat([torch.arange(n) + a for n, a in zip(lengths.tolist(), starts, strict=True)])
    return torch.from_numpy(rng.integers(0, 97, int(lengths.sum()))), positions, lengths, prefix


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
def test_states_and_gradients_are_those_of_the_cpu(window, kind):
    model = made() if window is None else made(model_type="mistral", sliding_window=window)
    theirs = copy.deepcopy(model).to("cuda", kind)
    inputs = shared_prompts()
    weights = torch.randn(int(inputs[2].sum()), 64, generator=torch.Generator().manual_seed(1))
    mine = model(*inputs)
    (mine * weights).sum().backward()
    found = theirs(*(x.cuda() for x in inputs))
    (found.float() * weights.cuda()).sum().backward()
    close = 1e-4 if kind == torch.float32 else 0.06
    assert (found.cpu().float() - mine).norm() < close * mine.norm()
    for (name, a), b in zip(model.named_parameters(), theirs.parameters(), strict=True):
        if a.grad is not None:
            assert (b.grad.cpu().float() - a.grad).norm() < 2 * close * a.grad.norm(), name


def test_the_flash_kernel_and_the_compiler_are_used_here():
    assert flash.usable(torch.device("cuda"), torch.bfloat16, 64)
    assert cards.no_compiler() == ""


def test_quantities_are_those_of_the_cpu():
    model = made()
    theirs = copy.deepcopy(model).cuda()
    rows = [np.arange(3 + 2 * i) % 97 for i in range(5)]
    batch = next_token_batch(rows, temperature=0.7)
    mine = quantities(model, batch, ("logprobs", "entropy"))
    found = quantities(theirs, batch, ("logprobs", "entropy"))
    for name in mine:
        np.testing.assert_allclose(found[name].detach().cpu(), mine[name].detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
def test_sampled_logprobs_are_the_trainers(kind, monkeypatch):
    model = made().to("cuda", kind)
    prompts = [[i % 90 + 1] * (3 + i % 5) for i in range(24) for _ in range(2)]
    replayed = []
    captured = graph.Captured
    monkeypatch.setattr(graph, "Captured", lambda *x: (replayed.append(1), captured(*x))[1])
    found = engine.generate(model, prompts, max_new_tokens=300, seed=1, slots=32, end=(0,))
    assert len(replayed) >= 2  # laid out anew on the way
    again = sequence_logprobs(model, [[*p, *s.ids] for p, s in zip(prompts, found, strict=True)])
    worst = 0.0
    for prompt, sampled, logprobs in zip(prompts, found, again, strict=True):
        worst = max(worst, float(np.abs(logprobs[len(prompt) - 1 :] - sampled.logprobs).max()))
    assert worst < (0.2 if kind == torch.bfloat16 else 2e-3)


def test_a_graph_gives_what_its_kernels_give(monkeypatch):
    model = made().to("cuda", torch.bfloat16)
    prompts = [[i + 1, i + 2] for i in range(16)]
    with_graph = engine.generate(model, prompts, max_new_tokens=40, seed=5)
    monkeypatch.setattr(Step, "__call__", Step.states)
    without = engine.generate(model, prompts, max_new_tokens=40, seed=5)
    assert [s.ids for s in with_graph] == [s.ids for s in without]
    for a, b in zip(with_graph, without, strict=True):
        np.testing.assert_array_equal(a.logprobs, b.logprobs)
