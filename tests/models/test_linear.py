"""Layers that keep little: their gradients against autograd's, and what they keep."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import grad
from torch.testing import assert_close

from penchant.models import kernels, linear

NEAR = {"rtol": 2e-5, "atol": 2e-5}


def _leaves(*shapes):
    torch.manual_seed(0)
    return [torch.randn(shape).requires_grad_(True) for shape in shapes]


def _kept(make):
    """Numbers that a forward keeps for its backward, those of its leaves left out."""
    found = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: found.append(x) or x, lambda x: x):
        make()
    return sum(x.numel() for x in found if not x.is_leaf)


def test_swiglu_equals_autograd(side):
    (both,) = _leaves((19, 66))
    d = torch.randn(19, 33)
    gate, up = (both * 4).chunk(2, -1)
    want = F.silu(gate) * up
    out = linear.swiglu(both * 4)
    assert_close(out, want, **NEAR)
    assert_close(grad((out * d).sum(), both), grad((want * d).sum(), both), **NEAR)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_gated_linear_equals_autograd(side, biased, known):
    both, weight, bias = _leaves((19, 66), (12, 33), 12)
    d = torch.randn(19, 12)
    gate, up = both.chunk(2, -1)
    want = F.linear(F.silu(gate) * up, weight, bias if biased else None)
    out = linear.gated_linear(both, weight, bias if biased else None, want.detach() if known else None)
    assert_close(out, want, **NEAR)
    leaves = [both, weight, bias][: 2 + biased]
    assert_close(grad((out * d).sum(), leaves), grad((want * d).sum(), leaves), **NEAR)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_stacked_linear_equals_layers_side_by_side(biased, known):
    x, one, two, three = _leaves((19, 8), (5, 8), (3, 8), (3, 8))
    biases = _leaves(5, 3, 3) if biased else []
    d = torch.randn(19, 11)
    layers = zip((one, two, three), biases or [None] * 3, strict=True)
    want = torch.cat([F.linear(x, weight, bias) for weight, bias in layers], dim=-1)
    out = linear.stacked_linear(x, [one, two, three], biases, want.detach() if known else None)
    assert_close(out, want, **NEAR)
    leaves = [x, one, two, three, *biases]
    assert_close(grad((out * d).sum(), leaves), grad((want * d).sum(), leaves), **NEAR)


def test_weights_that_stay_get_no_gradient():
    x, one, two, down = _leaves((19, 8), (4, 8), (4, 8), (6, 4))
    for weight in (one, two, down):
        weight.requires_grad_(False)
    out = linear.gated_linear(linear.stacked_linear(x, [one, two], []), down, None)
    out.sum().backward()
    assert x.grad is not None and all(weight.grad is None for weight in (one, two, down))


def test_neither_stacked_matrices_nor_the_product_of_the_gate_are_kept():
    x, one, two, down = _leaves((19, 8), (4, 8), (4, 8), (6, 4))
    assert _kept(lambda: linear.gated_linear(linear.stacked_linear(x, [one, two], []), down, None)) == 19 * 8


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_what_the_backward_makes_again_is_what_the_forward_made(side, kind):
    torch.manual_seed(0)
    both, d = (torch.randn(37, 2 * 45) * 4).to(kind), torch.randn(37, 45).to(kind)
    assert torch.equal(kernels.swiglu_backward(d, both)[1], kernels.swiglu(both))
