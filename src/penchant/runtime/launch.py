"""Which of several processes this one is, read from its environment and written into a child's; without torch.

`torchrun` gives the names; a run gives its stages' processes the same ones, and a file to find each other by.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from penchant.errors import InputError

__all__ = ["Place", "asked_processes", "environment", "follower", "place"]

_MEETING = "PENCHANT_MEETING"
_NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", _MEETING)


@dataclass(frozen=True)
class Place:
    """One process among several.

    Attributes:
        rank, ranks: its number, and how many there are.
        local: its number on this machine (the device it takes).
        meeting: how they find each other: what `torch.distributed` calls an init method.
    """

    rank: int = 0
    ranks: int = 1
    local: int = 0
    meeting: str = ""

    @property
    def first(self) -> bool:
        """Whether it is the one that writes and prints."""
        return self.rank == 0


def place() -> Place:
    """The place of this process; alone where nobody says otherwise."""
    ranks = _number("WORLD_SIZE", 1)
    if ranks < 2:
        return Place()
    rank = _number("RANK", 0)
    meeting = os.environ.get(_MEETING)
    return Place(rank, ranks, _number("LOCAL_RANK", rank), f"file://{meeting}" if meeting else "env://")


def environment(base: Mapping[str, str], place: Place) -> dict[str, str]:
    """A child's environment with its place; that of the parent is taken out.

    Args:
        place: its `meeting` is the path of a file that does not exist yet.
    """
    found = {k: v for k, v in base.items() if k not in _NAMES and not k.startswith(("TORCHELASTIC_", "MASTER_"))}
    if place.ranks > 1:
        found |= {"RANK": str(place.rank), "LOCAL_RANK": str(place.local), "WORLD_SIZE": str(place.ranks)}
        found |= {"LOCAL_WORLD_SIZE": str(place.ranks), _MEETING: place.meeting}
    return found


def asked_processes() -> int | None:
    """How many processes `torchrun` was asked for; None where it did not start this one.

    Raises:
        InputError: they are on several machines.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    here, all_ = _number("LOCAL_WORLD_SIZE", 1), _number("WORLD_SIZE", 1)
    if here != all_:
        raise InputError("a run uses the processes of one machine", "start torchrun with --nnodes=1")
    return all_


def follower() -> bool:
    """Whether `torchrun` started this process beside the one that drives the run (which starts its own children)."""
    return asked_processes() is not None and _number("LOCAL_RANK", 0) > 0


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else default
