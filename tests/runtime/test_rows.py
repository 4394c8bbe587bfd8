"""Row-parallel threads: shares are fair and fixed, gradients add up in the model, errors come through."""

from __future__ import annotations

import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from penchant.runtime.rows import Rows, deal


@given(st.lists(st.floats(0, 1e6), max_size=40), st.integers(1, 9))
def test_a_deal_gives_every_item_once_and_is_fair(costs: list[float], shares: int) -> None:
    found = deal(costs, shares)
    assert sorted(i for share in found for i in share) == list(range(len(costs)))
    assert all(share == sorted(share) for share in found)
    loads = [sum(costs[i] for i in share) for share in found]
    assert max(loads) - min(loads) <= max(costs, default=0) + 1e-3
    assert max(map(len, found)) > 0 or not costs
    assert found == deal(list(costs), shares)


def test_equal_items_go_round() -> None:
    assert deal([1.0] * 5, 2) == [[0, 2, 4], [1, 3]]
    assert deal([0.0] * 4, 2) == [[0, 2], [1, 3]]


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def items(count: int) -> list[torch.Tensor]:
    return [torch.randn(n + 1, 5, generator=torch.Generator().manual_seed(n)) for n in range(count)]


def one(net: nn.Module, x: torch.Tensor) -> tuple[int, float]:
    loss = net(x).square().sum()
    loss.backward()
    return len(x), float(loss.detach())


def gradients(threads: int, count: int) -> tuple[list[tuple[int, float]], list[torch.Tensor]]:
    net = model()
    found = Rows(threads).each(net, items(count), one, cost=len)
    return found, [p.grad for p in net.parameters()]


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_threads_give_the_gradient_of_one_and_the_same_bits_each_time(count: int) -> None:
    alone, expected = gradients(1, count)
    for threads in (2, 3):
        results, found = gradients(threads, count)
        assert [n for n, _ in results] == [n for n, _ in alone] == list(range(1, count + 1))
        for a, b in zip(expected, found, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
        again = gradients(threads, count)[1]
        assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))


def test_gradients_add_up_over_calls_and_frozen_weights_have_none() -> None:
    net = model()
    net[0].weight.requires_grad_(False)
    rows = Rows(2)
    rows.each(net, items(3), one, cost=len)
    once = net[2].weight.grad.clone()
    rows.each(net, items(3), one, cost=len)
    torch.testing.assert_close(net[2].weight.grad, 2 * once)
    assert net[0].weight.grad is None


def test_views_follow_weights_that_move_to_other_memory() -> None:
    net, rows = model(), Rows(2)
    rows.each(net, items(2), one, cost=len)
    net.zero_grad()
    net.double()
    results = rows.each(net, [x.double() for x in items(2)], one, cost=len)
    assert net[0].weight.grad.dtype == torch.float64
    assert results[0][1] == pytest.approx(gradients(1, 2)[0][0][1], rel=1e-5)


def test_threads_have_one_intra_op_thread_and_this_one_keeps_its_own() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen = Rows(2).each(model(), items(4), lambda net, x: (threading.get_ident(), torch.get_num_threads()), len)
        assert {count for _, count in seen} == {1}
        assert threading.get_ident() not in {thread for thread, _ in seen}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_an_error_in_a_thread_comes_through_and_leaves_no_half_of_a_gradient() -> None:
    net, rows = model(), Rows(2)

    def failing(net: nn.Module, x: torch.Tensor) -> None:
        one(net, x)
        if len(x) == 4:
            raise ValueError("the fourth")

    with pytest.raises(ValueError, match="the fourth"):
        rows.each(net, items(6), failing, cost=len)
    net.zero_grad()
    rows.each(net, items(3), one, cost=len)
    for a, p in zip(gradients(1, 3)[1], net.parameters(), strict=True):
        torch.testing.assert_close(a, p.grad, rtol=1e-5, atol=1e-6)
