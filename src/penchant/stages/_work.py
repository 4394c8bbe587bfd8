"""What `tune` hands to the maker of a source, and what it gets back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from penchant.contracts import Algorithm, Context, Source, StageContext
from penchant.runtime.mesh import Mesh
from penchant.text.conditioning import Conditioning
from penchant.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from penchant.stages.tune import Options

__all__ = ["Made", "Work"]


@dataclass(frozen=True)
class Work:
    """A model ready to be trained: adapted, with heads, placed on its device.

    Attributes:
        reference: the model that the KL is measured to, or None.
        plugins: what plug-ins are built in.
        micro_batch_size: rows of a forward at most.
        decided: (name, decide) -> a choice that this machine makes, kept for when the stage goes on.
    """

    options: Options
    context: StageContext
    mesh: Mesh
    model: Any
    reference: Any
    tokenizer: Tokenizer
    layout: Conditioning
    plugins: Context
    algorithm: Algorithm
    micro_batch_size: int
    decided: Callable[[str, Callable[[], Any]], Any]


@dataclass(frozen=True)
class Made:
    """What differs between sources.

    Attributes:
        evaluate: metrics on validation data, see `TrainingPlan`.
        limits: metric -> (the most it may be, what to do), see `TrainingPlan`.
        summary: what the stage's summary says of the data, asked at the end.
        steps: how many there are, where the options do not say it.
    """

    source: Source
    evaluate: Callable[[int], dict[str, float]] | None
    limits: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    summary: Callable[[], dict[str, Any]] = dict
    steps: int | None = None
