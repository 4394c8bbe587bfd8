"""What a device may be called; without torch, so that a recipe can be checked before anything is loaded."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

__all__ = ["DeviceName"]


def _known(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ValueError("choose auto, cpu, cuda, or cuda:N for the card of that number")
    return name


DeviceName = Annotated[str, AfterValidator(_known)]
