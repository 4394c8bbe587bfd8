"""Both sides of every kernel."""

from __future__ import annotations

import pytest

from penchant.models import kernels
from penchant.runtime import native


@pytest.fixture(params=["native", "torch"])
def side(request, monkeypatch):
    """The compiled kernels, and the PyTorch twins."""
    if request.param == "torch":
        monkeypatch.setattr(kernels, "_native", lambda name, x: None)
    elif native.build(kernels._SOURCE, "NUMBER=float")[0] is None:
        pytest.skip(kernels.reason())
    return request.param
