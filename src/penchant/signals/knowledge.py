"""Agreement with a knowledge graph: claims found in a segment that it supports, less those that it contradicts.

The score is (supported - contradicted) / claims, from -1 to 1; 0 where there is no claim, or none that the graph knows
anything of. What is merely absent from the graph is unknown, not false.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.errors import InputError
from penchant.records import Segment

__all__ = ["LANGUAGES", "RANGE", "REMOTE", "Options", "build"]

RANGE = (-1.0, 1.0)
LANGUAGES: Sequence[str] = ("en", "de", "fr")
REMOTE = False


class Options(BaseModel, extra="forbid"):
    """The graph, and how it is named."""

    graph: str | list[str] = Field(description="files of triples (.tsv, .nt, .ttl), or a store's folder")
    names: str | None = Field(None, description="TSV of entity and name; without, names are the entities' own")
    labels: str | None = Field(None, description="TSV of relation and phrase")
    types: str | None = Field(None, description="TSV of entity and kind")
    least: int = Field(20, ge=1, description="uses of a relation before a constraint is concluded from it")


def build(options: Options, context: Context) -> Callable[[Sequence[Segment]], list[float]]:
    """The signal: each segment by itself.

    Raises:
        InputError, DataRejected: a file is not there, broken, or the graph empty.
        MissingExtra: pyoxigraph is not installed.
    """
    from penchant.knowledge.open import opened

    paths = [options.graph] if isinstance(options.graph, str) else options.graph
    known = opened(paths, options.names, options.labels, options.types, options.least)
    if not known.facts:
        raise InputError("the knowledge graph is empty", "give files that hold triples", file=paths[0])

    def score(segments: Sequence[Segment]) -> list[float]:
        return [known.consistency(segment.text).score for segment in segments]

    return score
