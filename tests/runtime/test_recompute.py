"""Activation checkpointing: the same gradient to the bit, for less memory; in row-parallel threads too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from penchant.contracts import Context
from penchant.data.pack import next_token_batch
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.footprint import footprint
from penchant.models.quantities import sequence_logprobs
from penchant.objectives import mle
from penchant.runtime.launch import Place
from penchant.runtime.mesh import Mesh
from penchant.runtime.recompute import recompute
from penchant.runtime.shard import blocks
from penchant.training.gradient import gradient_step

CONFIG = DecoderConfig(vocab_size=64, hidden_size=32, intermediate_size=96, num_hidden_layers=4)


def model(checkpointed: bool, dtype: torch.dtype = torch.float32) -> Decoder:
    found = Decoder(CONFIG).initialise(0).to(dtype)
    if checkpointed:
        recompute(found)
    return found


def batches(count: int) -> list:
    rng = np.random.default_rng(0)
    return [next_token_batch([rng.integers(0, 64, n) for n in (40, 25, 33)]) for _ in range(count)]


def gradient(checkpointed: bool, threads: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    net = model(checkpointed, dtype)
    gradient_step(net, mle.build(mle.Options(), Context()), batches(4), Mesh(threads, "cpu", Place()))
    return [p.grad for p in net.parameters()]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_is_the_same_to_the_bit(threads: int, dtype: torch.dtype) -> None:
    plain, again = gradient(False, threads, dtype), gradient(True, threads, dtype)
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def kept(checkpointed: bool) -> int:
    """Bytes that wait for the backward, weights left out."""
    net, sizes = model(checkpointed), {}
    weights = {p.data_ptr() for p in net.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    batch = batches(1)[0]
    ids, positions, lengths = (torch.from_numpy(x) for x in (batch.inputs, batch.positions, batch.lengths))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        net(ids, positions, lengths).sum()
    return sum(sizes.values())


def test_less_is_kept_and_the_footprint_knows_it() -> None:
    assert kept(True) < 0.3 * kept(False)
    assert footprint(CONFIG, True, 40, checkpointed=True).token < 0.7 * footprint(CONFIG, True, 40).token


def test_without_a_gradient_it_just_runs() -> None:
    sequences = [[1, 2, 3, 4], [5, 6]]
    for a, b in zip(*(sequence_logprobs(model(c), sequences) for c in (False, True)), strict=True):
        assert np.array_equal(a, b)
    assert model(True).state_dict().keys() == model(False).state_dict().keys()


def test_layers_are_those_of_the_outermost_lists() -> None:
    def layer() -> nn.Module:
        return nn.ModuleDict({"parts": nn.ModuleList([nn.Linear(1, 1)])})

    both = nn.ModuleDict({"encoder": nn.ModuleList([layer()]), "decoder": nn.ModuleList([layer(), layer()])})
    assert blocks(both) == [*both["encoder"], *both["decoder"]]
    assert blocks(nn.Linear(1, 1)) == []
