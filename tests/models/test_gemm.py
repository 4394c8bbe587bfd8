"""Products by either library: the same numbers, and who makes them when."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from penchant.data.pack import next_token_batch
from penchant.errors import InputError
from penchant.models import gemm
from penchant.models.quantities import quantities
from penchant.runtime import processor

NEAR = {"rtol": 1e-5, "atol": 1e-4}


@pytest.fixture
def by_numpy(monkeypatch):
    """Products of any size go to NumPy, in one thread; the list grows by the shape of each."""
    made = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    product = gemm._numpy_product
    monkeypatch.setattr(gemm, "_choice", lambda: (True, "a test's wish"))
    monkeypatch.setattr(gemm, "_LEAST", 0)
    monkeypatch.setattr(gemm, "_numpy_product", lambda a, b: made.append((*a.shape, b.shape[1])) or product(a, b))
    yield made
    torch.set_num_threads(threads)


@pytest.mark.parametrize("laid", ["rows", "columns", "part of a wider one"])
def test_numpy_gives_what_torch_gives(by_numpy, laid):
    torch.manual_seed(0)
    a, b, bias = torch.randn(70, 30), torch.randn(30, 50), torch.randn(50)
    if laid == "columns":
        a, b = a.T.contiguous().T, b.T.contiguous().T
    elif laid != "rows":
        a, b = torch.randn(70, 90)[:, 30:60], torch.randn(30, 90)[:, 10:60]
    assert_close(gemm.matmul(a, b), a @ b, **NEAR)
    assert_close(gemm.linear(a, b.T, bias), F.linear(a, b.T, bias), **NEAR)
    assert_close(gemm.linear(a, b.T), F.linear(a, b.T), **NEAR)
    assert by_numpy == [(70, 30, 50)] * 3


@given(st.integers(0, 9), st.integers(1, 9), st.integers(1, 9), st.booleans(), st.booleans())
def test_any_shape_and_layout(rows, inside, columns, a_turned, b_turned):
    generator = torch.Generator().manual_seed(rows + 10 * inside + 100 * columns)
    a = torch.randn((inside, rows) if a_turned else (rows, inside), generator=generator)
    b = torch.randn((columns, inside) if b_turned else (inside, columns), generator=generator)
    a, b = a.T if a_turned else a, b.T if b_turned else b
    found = gemm._numpy_product(a, b)
    assert found.is_contiguous()
    assert_close(found, a @ b, **NEAR)


def test_what_numpy_would_multiply_without_its_library_stays_with_torch(by_numpy):
    wide = torch.randn(20, 40)
    assert not gemm._dense(wide[:, ::2])
    assert not gemm._dense(wide[:1].expand(20, 40))
    assert_close(gemm.matmul(wide[:, ::2], torch.ones(20, 3)), wide[:, ::2] @ torch.ones(20, 3))
    assert not by_numpy


def test_bf16_and_many_threads_stay_with_torch(by_numpy):
    a = torch.randn(8, 8)
    gemm.matmul(a.bfloat16(), a.bfloat16())
    gemm.linear(a.bfloat16(), a.bfloat16())
    torch.set_num_threads(2)
    gemm.matmul(a, a)
    assert not by_numpy


def test_small_products_stay_with_torch(by_numpy, monkeypatch):
    monkeypatch.setattr(gemm, "_LEAST", 8 * 8 * 8 + 1)
    gemm.matmul(torch.ones(8, 8), torch.ones(8, 8))
    assert not by_numpy
    gemm.matmul(torch.ones(9, 8), torch.ones(8, 8))
    assert by_numpy == [(9, 8, 8)]


def test_a_decoders_gradient_is_the_same(by_numpy, tiny):
    """All three products of every linear layer and of the head."""
    rows = [np.arange(1, 20) % 40, np.arange(5, 30) % 40]
    batch = next_token_batch(rows)
    model = tiny(model_type="qwen2")

    def gradients():
        model.zero_grad()
        (-quantities(model, batch, ("logprobs",))["logprobs"]).mean().backward()
        return [p.grad.clone() for p in model.parameters()]

    mine, count = gradients(), len(by_numpy)
    assert count == 2 * 4 * 3 + 4  # layers, products, ways; the head's logits twice, and its two gradients
    torch.set_num_threads(2)
    theirs = gradients()
    assert len(by_numpy) == count
    for one, other in zip(mine, theirs, strict=True):
        assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_openblas_keeps_to_one_thread(by_numpy):
    from threadpoolctl import threadpool_info

    gemm.matmul(torch.ones(8, 8), torch.ones(8, 8))
    loaded = [info for info in threadpool_info() if info["internal_api"] == "openblas"]
    assert {info["num_threads"] for info in loaded if "numpy" in info["filepath"]} <= {1}  # SciPy brings one of its own


@pytest.mark.parametrize(("asked", "want"), [("torch", False), ("numpy", True)])
def test_the_environment_settles_it(monkeypatch, asked, want):
    monkeypatch.setenv("PENCHANT_GEMM", asked)
    assert gemm._choice.__wrapped__() == (want, f"{asked}, as PENCHANT_GEMM says")


def test_a_wrong_wish_is_told(monkeypatch):
    monkeypatch.setenv("PENCHANT_GEMM", "mkl")
    with pytest.raises(InputError, match="PENCHANT_GEMM is 'mkl'"):
        gemm._choice.__wrapped__()


@pytest.mark.parametrize(
    ("vendor", "flags", "blas", "want"),
    [
        ("AuthenticAMD", "fma avx2", "scipy-openblas", True),
        ("AuthenticAMD", "fma avx2", "mkl", False),
        ("AuthenticAMD", "fma avx2 avx512f", "scipy-openblas", False),
        ("GenuineIntel", "fma avx2", "scipy-openblas", False),
    ],
)
def test_the_processor_settles_it(monkeypatch, vendor, flags, blas, want):
    monkeypatch.delenv("PENCHANT_GEMM", raising=False)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setattr(processor, "cpuinfo", lambda: [f"vendor_id\t: {vendor}", f"flags\t\t: {flags}"] * 2)
    monkeypatch.setattr(gemm, "_blas", lambda: blas)
    assert gemm._choice.__wrapped__()[0] is want


def test_an_unknown_processor_takes_torch(monkeypatch):
    monkeypatch.setattr(processor, "cpuinfo", list)
    monkeypatch.delenv("PENCHANT_GEMM", raising=False)
    assert gemm._choice.__wrapped__() == (False, "torch")
    assert gemm.reason()
