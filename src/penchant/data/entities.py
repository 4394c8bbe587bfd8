"""Find personal data that have no form (people, places ...) with a spaCy pipeline, beside those that have one."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from penchant.data.pii import Span, find
from penchant.errors import InputError, MissingExtra

__all__ = ["ENTITIES", "Entity", "finder", "missing"]

Entity = Literal["person", "place", "organization", "group", "date"]
ENTITIES = get_args(Entity)

# Labels of spaCy's pipelines: OntoNotes' (English, Chinese) and WikiNER's (German, French and others).
_LABELS: dict[str, Entity] = {
    "PERSON": "person", "PER": "person", "GPE": "place", "LOC": "place", "FAC": "place", "ORG": "organization",
    "NORP": "group", "DATE": "date", "TIME": "date",
}  # fmt: skip
_IDLE = ["tagger", "morphologizer", "parser", "senter", "attribute_ruler", "lemmatizer", "trainable_lemmatizer"]
_MEND = "name one that is installed (python -m spacy download en_core_web_sm), or a folder of one"
_PIECE = re.compile(r"(?s).{1,100000}(?:\s|\Z)|.{1,100000}")  # characters; spaCy refuses 1,000,000


def missing(pipeline: str) -> str | None:
    """What is not there of a pipeline that shall be loaded, told without loading it; None where nothing is missing."""
    if importlib.util.find_spec("spacy") is None:
        return 'it needs: pip install "penchant[entities]"'
    if Path(pipeline).exists() or (pipeline.isidentifier() and importlib.util.find_spec(pipeline)):
        return None
    return f"there is no spaCy pipeline {pipeline!r}; {_MEND}"


def finder(pipeline: str | None, kinds: Sequence[Entity]) -> Callable[[str], list[Span]]:
    """`penchant.data.pii.find`, with a pipeline's entities beside what has a form.

    Args:
        pipeline: a spaCy pipeline that is installed (`en_core_web_sm`), or a folder of one; None: only what has a form.
        kinds: which entities count.

    Returns:
        A function of a text: spans by start, never overlapping; what has a form goes before an entity.

    Raises:
        InputError: there is no such pipeline, or it finds none of the kinds.
        MissingExtra: spaCy is not installed.
    """
    if pipeline is None:
        return find
    named = _loaded(pipeline, kinds)

    def both(text: str) -> list[Span]:
        formed = find(text)
        taken = bytearray(len(text))
        for start, end, _ in formed:
            taken[start:end] = b"\x01" * (end - start)
        return sorted([*formed, *(span for span in named(text) if not any(taken[span[0] : span[1]]))])

    return both


def _loaded(pipeline: str, kinds: Sequence[Entity]) -> Callable[[str], Iterator[Span]]:
    try:
        import spacy
    except ImportError as error:
        raise MissingExtra("a named-entity recogniser", "entities") from error
    try:
        model: Any = spacy.load(pipeline, exclude=_IDLE)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no spaCy pipeline {pipeline!r} can be read: {str(error).splitlines()[0]}",
            _MEND,
        ) from error
    known = {label for name in model.pipe_names for label in getattr(model.get_pipe(name), "labels", ())}
    if lacking := sorted(set(kinds) - {_LABELS[label] for label in known & _LABELS.keys()}):
        raise InputError(
            f"the pipeline {pipeline!r} does not find: {', '.join(lacking)}",
            f"set entity_kinds to what it finds: its labels are {', '.join(sorted(known)) or 'none'}",
        )

    def entities(text: str) -> Iterator[Span]:
        for piece in _PIECE.finditer(text):
            for found in model(piece[0]).ents:
                if (kind := _LABELS.get(found.label_)) is not None and kind in kinds:
                    yield piece.start() + found.start_char, piece.start() + found.end_char, kind

    return entities
