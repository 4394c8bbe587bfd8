"""The compiled kernels against their PyTorch twins, and both against autograd."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.models import functions, kernels
from penchant.models.buckets import buckets
from penchant.models.frozen import Frozen, Linear
from penchant.runtime import native, processor


def _gradients(loss, *leaves):
    return torch.autograd.grad(loss, leaves)


def _close(a, b, tolerance=2e-5):
    return float((a.detach().float() - b.detach().float()).norm()) <= tolerance * (
        1e-3 + float(b.detach().float().norm())
    )


def test_add_norm_equals_autograd(side):
    torch.manual_seed(0)
    x, y, d, e = (torch.randn(37, 48) for _ in range(4))
    gain = torch.randn(48)
    for leaf in (x, y, gain):
        leaf.requires_grad_(True)
    total, out = functions.add_norm(x, y, gain, 1e-5)
    want_total = x + y
    want = gain * want_total * torch.rsqrt(want_total.square().mean(-1, keepdim=True) + 1e-5)
    assert _close(total, want_total) and _close(out, want)
    got = _gradients((out * d + total * e).sum(), x, y, gain)
    for a, b in zip(got, _gradients((want * d + want_total * e).sum(), x, y, gain), strict=True):
        assert _close(a, b)


def _plain_attention(qkv, cos, sin, lengths, groups, width, window):
    """By the definition, a sequence and a head at a time."""
    heads = qkv.shape[1] // width - 2 * groups

    def turn(x, c, s):
        low, high = x.chunk(2, -1)
        return torch.cat([low * c - high * s, high * c + low * s], -1)

    out, a = [], 0
    for n in lengths:
        rows, c, s = qkv[a : a + n].view(n, -1, width), cos[a : a + n, None], sin[a : a + n, None]
        q, k, v = turn(rows[:, :heads], c, s), turn(rows[:, heads : heads + groups], c, s), rows[:, heads + groups :]
        behind = torch.arange(n)[:, None] - torch.arange(n)
        seen = (behind >= 0) & (behind < (window or n))
        each = []
        for h in range(heads):
            g = h // (heads // groups)
            scores = (q[:, h] @ k[:, g].T / width**0.5).masked_fill(~seen, float("-inf"))
            each.append(torch.softmax(scores, -1) @ v[:, g])
        out.append(torch.stack(each, 1).reshape(n, -1))
        a += n
    return torch.cat(out)


@pytest.mark.parametrize("lengths", [[5], [70, 70], [3, 130, 1, 65], [300]])
@pytest.mark.parametrize(("heads", "groups", "window"), [(4, 4, 0), (4, 2, 0), (6, 2, 7), (2, 1, 64)])
def test_attention_equals_its_definition(side, lengths, heads, groups, window):
    torch.manual_seed(0)
    width, tokens = 8, sum(lengths)
    qkv = torch.randn(tokens, (heads + 2 * groups) * width, requires_grad=True)
    turn = torch.randn(tokens, width // 2)
    cos, sin, d = turn.cos(), turn.sin(), torch.randn(tokens, heads * width)
    unfolded = buckets(torch.tensor(lengths))
    out = functions.attention(qkv, (cos, sin), unfolded, groups, width, window)
    want = _plain_attention(qkv, cos, sin, lengths, groups, width, window)
    assert _close(out, want)
    assert _close(*_gradients((out * d).sum(), qkv), *_gradients((want * d).sum(), qkv))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("ask_entropy", [False, True])
def test_log_probs_equal_autograd(side, temperature, ask_entropy):
    torch.manual_seed(0)
    logits = (torch.randn(23, 301) * 3).requires_grad_(True)
    with torch.no_grad():
        logits[:, [4, 9]] = float("-inf")
    labels = torch.randint(10, 301, (23,))
    logp = torch.log_softmax(logits / temperature, -1)
    entropy = -(logp.exp() * logp.nan_to_num(neginf=0.0)).sum(-1)
    out = tuple(torch.empty(23) for _ in range(3))
    asked = out if ask_entropy else (*out[:2], None)
    kernels.log_probs(logits.detach(), labels, temperature, asked)
    assert _close(out[0], logp.gather(1, labels[:, None]).squeeze(1))
    g, h = torch.randn(23), torch.randn(23)
    loss = (logp.gather(1, labels[:, None]).squeeze(1) * g).sum()
    if ask_entropy:
        assert _close(out[2], entropy)
        loss = loss + (entropy * h).sum()
    (want,) = _gradients(loss, logits)
    d = logits.detach().clone()
    kernels.log_probs_backward(d, labels, temperature, asked[1:], (g, h))
    assert _close(d, want.nan_to_num(0.0))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), rows=st.integers(1, 40), width=st.integers(1, 70))
def test_bfloat16_sides_agree(seed, rows, width):
    if native.build(kernels._SOURCE, "NUMBER=float")[0] is None:
        pytest.skip(kernels.reason())
    g = torch.Generator().manual_seed(seed)
    make = lambda *shape: torch.randn(*shape, generator=g).bfloat16()  # noqa: E731
    x, y, gain, both, d = make(rows, width), make(rows, width), make(width), make(rows, 2 * width), make(rows, width)
    total = x.float() + y.float()

    def everything():
        summed, normed, inverse = kernels.norm(x, y, gain, 1e-6)
        d_sum, d_gain = kernels.norm_backward(d, y, summed, gain, inverse)
        scores = both[:, :1].expand(rows, rows)[None].contiguous()
        kernels.causal_softmax(scores, kernels.Seen(0, 1, 3))
        return summed, normed, d_sum, d_gain, kernels.swiglu(both), *kernels.swiglu_backward(d, both), scores

    first = everything()
    keep, kernels._native = kernels._native, lambda name, x: None
    try:
        second = everything()
    finally:
        kernels._native = keep
    assert torch.equal(first[0], total.bfloat16())
    for a, b in zip(first, second, strict=True):
        assert a.shape == b.shape and _close(a, b, 1e-2)


def _takes(weight):
    """Whether our own product is here; where it should be it must be."""
    if not kernels.takes(weight):
        flags = processor._flags() or set()
        compiled = native.build(kernels._SOURCE, "NUMBER=float")[0] is not None
        assert not compiled or "avx2" not in flags or "avx512f" in flags
        pytest.skip("the kernel is for AVX2 alone")


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 999), rows=st.integers(1, 120), inside=st.integers(1, 12),
    outs=st.lists(st.integers(3, 80), min_size=1, max_size=3),
)  # fmt: skip
def test_our_product_gives_a_row_the_same_bits_in_any_company(seed, rows, inside, outs):
    g = torch.Generator().manual_seed(seed)
    x, weights = torch.randn(rows, 8 * inside, generator=g), [torch.randn(n, 8 * inside, generator=g) for n in outs]
    _takes(weights[0])
    found = kernels.rows_linear(x, weights)
    assert torch.allclose(found.double(), x.double() @ torch.cat(weights).double().T, atol=1e-4)
    some = torch.randperm(rows, generator=g)[: 1 + seed % rows]
    assert torch.equal(kernels.rows_linear(x[some], weights), found[some])


@pytest.mark.parametrize("threads", [2, 3, 7])
@pytest.mark.parametrize("rows", [1, 5, 130])
def test_threads_share_a_product_out_and_change_no_bit(threads, rows, monkeypatch):
    x, weight = torch.randn(rows, 96), torch.randn(193, 96)  # the last of nine blocks is one output
    _takes(weight)
    alone = kernels.rows_linear(x, [weight])
    monkeypatch.setattr(kernels, "_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert torch.equal(kernels.rows_linear(x, [weight]), alone)


@pytest.mark.parametrize(("rows", "inside", "outs"), [(1, 8, [3]), (2, 64, [40, 7]), (53, 40, [24, 25, 26])])
def test_layers_of_sampling_are_one_product_with_and_without_the_kernel(side, rows, inside, outs):
    torch.manual_seed(0)
    x, layers = torch.randn(rows, inside), [(torch.randn(n, inside), torch.randn(n)) for n in outs]
    together = Linear(*layers)
    found = together(x)
    assert _close(found, torch.cat([x @ w.T + b for w, b in layers], -1))
    if together.packed:
        assert all(torch.equal(together(x[i : i + 1].contiguous())[0], found[i]) for i in range(rows))


def test_sampling_keeps_no_copy_of_the_weights(tiny):
    model = tiny(hidden_size=32, vocab_size=64)
    _takes(model.head)
    frozen = Frozen(model)
    mine = {p.untyped_storage().data_ptr() for p in model.parameters()}
    linears = [part for layer in frozen.layers for part in (layer.qkv, layer.out, layer.gate_up, layer.down)]
    assert {w.untyped_storage().data_ptr() for part in [*linears, frozen.head] for w in part.shared} <= mine


def test_what_our_product_cannot_take_goes_another_way():
    wide, narrow, turned = torch.randn(8, 12), torch.randn(2, 8), torch.randn(8, 16).T
    assert not any(map(kernels.takes, (wide, narrow, turned, torch.randn(8, 8).bfloat16())))
    for weight in (wide, narrow, turned):
        x = torch.randn(5, weight.shape[1])
        assert _close(Linear((weight, None))(x), x @ weight.T)


def test_a_kernel_is_compiled_once_and_never_half(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("PENCHANT_KERNELS", raising=False)
    native.build.cache_clear()
    try:
        library, why = native.build(kernels._SOURCE, "NUMBER=float")
        if library is None:
            pytest.skip(why)
        (made,) = (tmp_path / "penchant").iterdir()
        stamp = made.stat().st_mtime_ns
        native.build.cache_clear()
        assert native.build(kernels._SOURCE, "NUMBER=float")[0] is not None and made.stat().st_mtime_ns == stamp
        broken = tmp_path / "broken.cpp"
        broken.write_text("this is no C++", encoding="utf-8")
        assert native.build(broken)[0] is None
        assert [p.name for p in (tmp_path / "penchant").iterdir()] == [made.name]
        monkeypatch.setenv("PENCHANT_KERNELS", "off")
        native.build.cache_clear()
        assert native.build(kernels._SOURCE, "NUMBER=float") == (None, "off by PENCHANT_KERNELS")
    finally:
        native.build.cache_clear()
