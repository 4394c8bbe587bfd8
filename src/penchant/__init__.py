"""Penchant, the preference laboratory: prepare, pretrain, tune and judge language models with human preferences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penchant.api import evaluate, load, prepare, pretrain, run, tune

    __version__: str

__all__ = ["__version__", "evaluate", "load", "prepare", "pretrain", "run", "tune"]


def __getattr__(name: str) -> Any:
    # Names are fetched when first used, so that `import penchant` costs next to nothing.
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("penchant")
    elif name in __all__:
        from penchant import api

        value = getattr(api, name)
    else:
        raise AttributeError(f"module 'penchant' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
