"""How many rows go through a model at once: what pays, as far as it fits."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant import machine
from penchant.models.config import DecoderConfig
from penchant.models.footprint import footprint
from penchant.runtime.memory import budget, fit
from penchant.runtime.precision import resolve_dtype

GB = 10**9
SHAPE = {
    "vocab_size": 8192,
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
}


@given(
    st.integers(0, 64 * GB), st.integers(0, 8 * GB), st.integers(100, 10**7), st.integers(1, 8192), st.integers(1, 64)
)
def test_what_is_chosen_fits_or_is_warned_of(free: int, fixed: int, token: int, row: int, threads: int) -> None:
    found = fit(free, fixed, token, row, threads)
    assert found.rows >= 1
    assert (fixed + found.rows * row * token * threads <= free) or (found.rows == 1 and found.warning)
    assert found.rows * row <= max(row, 2048)
    more = fit(free * 2, fixed, token, row, threads)
    assert more.rows >= found.rows


def test_with_memory_to_spare_it_is_what_pays() -> None:
    assert fit(None, 0, 1, 256, 1).rows == 8
    assert fit(64 * GB, GB, 100_000, 256, 2).rows == 4
    assert fit(64 * GB, GB, 1000, 256, 16).rows == 4  # a thread's forward stays large enough
    assert fit(64 * GB, GB, 1000, 8192, 2).rows == 1
    assert fit(GB, 0, 400_000, 256, 2).rows == 4
    assert "GB are free" in fit(GB, 2 * GB, 400_000, 256, 2).warning


def test_a_process_plans_with_its_share_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "memory_available", lambda: 10 * GB)
    monkeypatch.setattr(machine, "cores", lambda: 4)
    assert budget("cpu", 4) == pytest.approx(7 * GB)
    assert budget("cpu", 1) == pytest.approx(7 * GB / 4)
    assert budget("cpu", 8) == pytest.approx(7 * GB)
    monkeypatch.setattr(machine, "memory_available", lambda: None)
    assert budget("cpu", 4) is None


def test_few_tokens_do_not_fill_a_chunk_of_logits() -> None:
    small = footprint(DecoderConfig(**SHAPE), True, 256)
    full = (1 << 24) // SHAPE["vocab_size"]
    assert small.total(2, full + 1) - small.total(2, full) == 2 * small.token
    assert small.total(2, full) - small.total(2, full - 1) == 2 * (small.token + small.logits)


MEASURE = """
import json, sys
from pathlib import Path
import numpy as np, torch
from penchant.contracts import Context
from penchant.data.pack import next_token_batch
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.objectives import mle
from penchant.runtime.launch import Place
from penchant.runtime.mesh import Mesh
from penchant.training.gradient import gradient_step
from penchant.training.optimizer import Optimizer, OptimizerOptions

def peak():  # of this process: what getrusage tells includes the parent's
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) << 10

rows, threads, dtype = int(sys.argv[1]), int(sys.argv[2]), getattr(torch, sys.argv[3])
mesh = Mesh(threads, "cpu", Place())
before = peak()
model = Decoder(DecoderConfig(**json.loads(sys.argv[4]))).initialise(0).to(dtype)
optimizer = Optimizer(model, OptimizerOptions(name="adamw"), 10)
ids = np.random.default_rng(0).integers(0, 8192, (threads, rows, 257))
for _ in range(2):
    gradient_step(model, mle.build(mle.Options(), Context()), [next_token_batch(list(i)) for i in ids], mesh)
    optimizer.step(1, optimizer.gradients(mesh))
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("rows", "threads", "dtype"),
    [
        (6, 1, "auto"),
        pytest.param(6, 1, "bfloat16", marks=pytest.mark.slow),
        pytest.param(4, 2, "float32", marks=pytest.mark.slow),
    ],
)
def test_the_estimate_is_what_training_takes(rows: int, threads: int, dtype: str) -> None:
    """Within a third, so that a plan with seven tenths of the free memory holds."""
    dtype = str(resolve_dtype(dtype)).removeprefix("torch.")  # emulated bf16 takes minutes
    words = [sys.executable, "-c", MEASURE, str(rows), str(threads), dtype, json.dumps(SHAPE)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=200)
    expected = footprint(DecoderConfig(**SHAPE), dtype == "float32", 256).total(threads, rows * 256)
    assert expected * 0.67 < int(done.stdout) < expected * 1.33
