"""Datasets of the Hugging Face hub, or anything else that `datasets.load_dataset` knows, streamed row by row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from penchant.errors import InputError, MissingExtra

__all__ = ["PREFIX", "rows", "splits"]

PREFIX = "hf:"


def splits(spec: str) -> list[tuple[str, str]]:
    """(full spec, name) of each split that `hf:NAME[:CONFIG][#SPLIT]` names; all of them where it names none.

    Raises:
        InputError: no such dataset, configuration or split, or it cannot be reached.
        MissingExtra: `datasets` is not installed.
    """
    name, config, split = _parts(spec)
    datasets = _datasets()
    try:
        known = datasets.get_dataset_split_names(name, config)
    except Exception as error:  # the library raises its own, the hub's and the network's kinds
        told = " ".join(str(error).split())[:200] or type(error).__name__
        mend = "check the name (hf:OWNER/NAME:CONFIG), the network, and HF_HUB_OFFLINE"
        raise InputError(f"the dataset cannot be loaded ({told})", mend, file=spec) from error
    if split and split not in known:
        raise InputError(f"the dataset has no split {split!r}", f"its splits are {', '.join(known)}", file=spec)
    whole = name + (f":{config}" if config else "")
    shown = Path(whole).name.replace(":", "/")
    return [(f"{PREFIX}{whole}#{one}", f"{shown}/{one}") for one in known if split in (None, one)]


def rows(spec: str) -> Iterator[dict[str, Any]]:
    """The rows of one split, by its full spec; nothing is kept in memory."""
    name, config, split = _parts(spec)
    yield from map(dict, _datasets().load_dataset(name, config, split=split, streaming=True))


def _parts(spec: str) -> tuple[str, str | None, str | None]:
    rest, _, split = spec.removeprefix(PREFIX).partition("#")
    name, _, config = rest.partition(":")
    return name, config or None, split or None


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra("a dataset of the hub", "hf") from error
    datasets.disable_progress_bars()
    return datasets
