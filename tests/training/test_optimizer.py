"""Muon against torch's, AdamW against torch's, clipping without a sweep of its own, and states that go on."""

from __future__ import annotations

import copy
import weakref

import pytest
import torch
from torch import nn

from penchant.training.muon import orthogonal
from penchant.training.optimizer import Optimizer, OptimizerOptions

SHAPES = {"a": (6, 6), "b": (6, 6), "c": (10, 6), "d": (6, 10), "embed": (12, 6), "gain": (6,)}


class Weights(nn.Module):
    """Matrices of shapes that repeat and that are each other's transpose, an embedding and a gain."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        for name, shape in SHAPES.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape, generator=generator).to(dtype)))

    def fill(self, step: int, size: float = 1.0) -> None:
        """Gradients of a step."""
        generator = torch.Generator().manual_seed(100 + step)
        for p in self.parameters():
            p.grad = (torch.randn(p.shape, generator=generator) * size).to(p.dtype)


def constant(name: str, **more: float) -> OptimizerOptions:
    return OptimizerOptions(name=name, schedule="constant", warmup=0.0, **more)


def test_orthogonal_moves_singular_values_close_to_one() -> None:
    matrices = torch.randn(4, 8, 12, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(matrices))
    assert float(values.min()) > 0.6
    assert float(values.max()) < 1.3


def test_muon_is_torchs_within_the_rounding_of_bfloat16() -> None:
    ours, theirs = Weights(), Weights()
    optimizer = Optimizer(ours, constant("muon", learning_rate=0.02, weight_decay=0.1, max_grad_norm=0.0), 10)
    matrices = [p for n, p in theirs.named_parameters() if n in "abcd"]
    muon = torch.optim.Muon(matrices, lr=0.02, momentum=0.95, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    rest = [p for n, p in theirs.named_parameters() if n not in "abcd"]
    adam = torch.optim.AdamW(rest, lr=0.01, betas=(0.9, 0.95), weight_decay=0.1)
    for step in range(4):
        for net in (ours, theirs):
            net.fill(step)
        optimizer.step(step, optimizer.gradients())
        muon.step()
        adam.step()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        moved = float((b - Weights().get_parameter(name)).detach().abs().max())
        assert float((a - b).detach().abs().max()) < (0.02 * moved if name in "abcd" else 1e-6), name


@pytest.mark.parametrize("apart", [False, True])
def test_adam_adds_the_decay_to_the_gradient_and_adamw_to_the_weight(apart: bool) -> None:
    """Both written out (Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm 2)."""
    net = Weights()
    optimizer = Optimizer(net, constant("adamw" if apart else "adam", max_grad_norm=0.0), 10)
    rate, decay, (b1, b2) = optimizer.options.learning_rate, optimizer.options.weight_decay, optimizer.options.betas
    wanted = {name: p.detach().double().clone() for name, p in net.named_parameters()}
    m, v = ({name: torch.zeros_like(w) for name, w in wanted.items()} for _ in range(2))
    for step in range(3):
        net.fill(step)
        for name, p in net.named_parameters():
            w = wanted[name]
            g = p.grad.double() + (0 if apart else decay * w)
            m[name], v[name] = b1 * m[name] + (1 - b1) * g, b2 * v[name] + (1 - b2) * g * g
            unbiased = m[name] / (1 - b1 ** (step + 1)), v[name] / (1 - b2 ** (step + 1))
            wanted[name] = w * (1 - rate * decay * apart) - rate * unbiased[0] / (unbiased[1].sqrt() + 1e-8)
        optimizer.step(step, optimizer.gradients())
    for name, p in net.named_parameters():
        torch.testing.assert_close(p.double(), wanted[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw", "muon", "sgd"])
def test_clipping_is_scaling_the_gradient(name: str) -> None:
    clipped, scaled = Weights(), Weights()
    one = Optimizer(clipped, constant(name, max_grad_norm=0.5), 10)
    two = Optimizer(scaled, constant(name, max_grad_norm=0.0), 10)
    for step in range(3):
        clipped.fill(step)
        norm = one.gradients()
        one.step(step, norm)
        scaled.fill(step)
        for p in scaled.parameters():
            p.grad.mul_(0.5 / (norm + 1e-6))
        assert two.gradients() == pytest.approx(0.5, rel=1e-4)
        two.step(step, 0.5)
    for a, b in zip(clipped.parameters(), scaled.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("name", ["adam", "adamw", "muon", "sgd"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_state_goes_on_bit_for_bit(name: str, dtype: torch.dtype) -> None:
    whole = Weights(dtype)
    first = Optimizer(whole, constant(name), 10)
    for step in range(2):
        whole.fill(step)
        first.step(step, first.gradients())
    saved, weights = copy.deepcopy(first.state_dict()), copy.deepcopy(whole.state_dict())
    cut = Weights(dtype)
    second = Optimizer(cut, constant(name), 10)
    cut.load_state_dict(weights)
    second.load_state_dict(saved)
    for step in range(2, 4):
        for net, optimizer in ((whole, first), (cut, second)):
            net.fill(step)
            optimizer.step(step, optimizer.gradients())
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), cut.parameters(), strict=True))


def test_small_steps_are_not_lost_to_bfloat16() -> None:
    net = Weights(torch.bfloat16)
    optimizer = Optimizer(net, constant("sgd", learning_rate=1e-5, weight_decay=0.0, momentum=0.0, max_grad_norm=0), 99)
    before = net.a.detach().clone()
    for _ in range(400):
        net.fill(0)
        optimizer.step(1, optimizer.gradients())
    net.fill(0)
    moved = (before.float() - net.a.detach().float()).mean() / net.a.grad.float().mean()
    assert float(moved) == pytest.approx(400 * 1e-5, rel=0.5)


@pytest.mark.parametrize("name", ["adamw", "muon", "sgd"])
def test_gradients_in_float32_are_gone_after_the_update(name: str) -> None:
    """The next forward's activations need their room."""
    net = Weights(torch.bfloat16)
    optimizer = Optimizer(net, constant(name), 10)
    net.fill(1)
    norm = optimizer.gradients()
    grads = [weakref.ref(master.grad) for master in optimizer.masters]
    assert all(grad().dtype == torch.float32 for grad in grads)
    optimizer.step(1, norm)
    assert all(grad() is None for grad in grads)


def test_tables_of_t5_are_no_matrices_for_muon() -> None:
    import transformers

    config = transformers.T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2)
    model = transformers.T5ForConditionalGeneration(config)
    optimizer = Optimizer(model, constant("muon"), 10)
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    apart = {names[i] for i in optimizer.rest}
    assert {n for n in names if "relative_attention_bias" in n or "shared" in n} <= apart
    assert not any("SelfAttention.q." in n or ".wi." in n for n in apart)


def test_weights_without_a_gradient_stay_and_frozen_ones_are_left_out() -> None:
    net = Weights()
    net.b.requires_grad_(False)
    optimizer = Optimizer(net, constant("muon"), 10)
    before = copy.deepcopy(net.state_dict())
    net.fill(0)
    net.b.grad = net.gain.grad = None
    optimizer.step(0, optimizer.gradients())
    assert torch.equal(before["b"], net.b)
    assert torch.equal(before["gain"], net.gain)
    assert not torch.equal(before["a"], net.a)
