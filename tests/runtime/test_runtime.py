"""Counted random numbers and measured precision."""

import numpy as np
import torch

from penchant.runtime.precision import Precision, bf16_units, measure, resolve_dtype
from penchant.runtime.random import stream


def test_a_stream_is_a_function_of_its_purpose():
    assert (stream(1, "a", 2).random(5) == stream(1, "a", 2).random(5)).all()
    others = [stream(2, "a", 2), stream(1, "b", 2), stream(1, "a", 3)]
    assert all(not np.array_equal(stream(1, "a", 2).random(5), o.random(5)) for o in others)


def test_precision_is_measured_and_says_why():
    found = measure()
    assert found.fp32 > 0
    assert found.bf16 > 0
    assert bf16_units() == (resolve_dtype("auto") == torch.bfloat16)
    assert "emulated" in Precision("cpu", 20, 100).why
    assert "bf16 weights" in Precision("cpu", 220, 110).why
    assert resolve_dtype("float32") == torch.float32
