"""Entities are found beside what has a form, at the right places, in long texts too."""

from __future__ import annotations

import pytest

from penchant.contracts import Context
from penchant.data import pii
from penchant.data.entities import finder, missing
from penchant.errors import InputError
from penchant.records import Segment
from penchant.signals import pii as signal

spacy = pytest.importorskip("spacy")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A pipeline that knows its entities by a list, in a folder."""
    model = spacy.blank("en")
    ruler = model.add_pipe("entity_ruler")
    ruler.add_patterns(
        [
            {"label": "PERSON", "pattern": [{"LOWER": "ada"}, {"LOWER": "lovelace"}]},
            {"label": "GPE", "pattern": "Paris"},
            {"label": "ORG", "pattern": [{"TEXT": {"REGEX": "@acme"}}]},
            {"label": "MONEY", "pattern": "5 euros"},
        ]
    )
    folder = tmp_path_factory.mktemp("pipeline") / "names"
    model.to_disk(folder)
    return str(folder)


def test_entities_stand_beside_what_has_a_form(pipeline: str) -> None:
    text = "Ada Lovelace (ada@acme.org) left Paris with 5 euros."
    found = [
        (text[start:end], kind) for start, end, kind in finder(pipeline, ["person", "place", "organization"])(text)
    ]
    assert found == [("Ada Lovelace", "person"), ("ada@acme.org", "email"), ("Paris", "place")]
    assert [kind for *_, kind in finder(pipeline, ["place"])(text)] == ["email", "place"]
    assert finder(None, ["person"])(text) == pii.find(text)


def test_masks_of_entities_can_be_undone(pipeline: str) -> None:
    text = "Paris: ada lovelace saw Ada Lovelace in Paris."
    masked, values = pii.mask(text, finder(pipeline, ["person", "place"])(text))
    assert masked == "<PLACE_1>: <PERSON_1> saw <PERSON_2> in <PLACE_1>."
    assert pii.unmask(masked, values) == text


def test_a_text_longer_than_a_pipeline_takes_is_read_in_pieces(pipeline: str) -> None:
    text = "no name here. " * 90_000 + "Then Ada Lovelace came." + "x" * 250_000
    assert [text[start:end] for start, end, _ in finder(pipeline, ["person"])(text)] == ["Ada Lovelace"]


def test_a_pipeline_that_is_not_there_or_finds_other_things_is_refused(pipeline: str) -> None:
    with pytest.raises(InputError, match="no spaCy pipeline 'nowhere'"):
        finder("nowhere", ["person"])
    with pytest.raises(InputError, match="does not find: date, group") as error:
        finder(pipeline, ["date", "person", "group"])
    assert "GPE, MONEY, ORG, PERSON" in str(error.value)


def test_what_is_missing_is_told_without_loading_it(pipeline: str) -> None:
    assert missing(pipeline) is None
    assert "no spaCy pipeline 'nowhere'" in str(missing("nowhere"))
    assert "no spaCy pipeline 'a/b.c'" in str(missing("a/b.c"))


def test_the_signal_counts_them_where_asked(pipeline: str) -> None:
    options = signal.Options(kinds=["email"], entities=pipeline, entity_kinds=["place"])
    text = "Ada Lovelace (ada@acme.org, +44 20 7946 0958) left Paris."
    assert signal.build(options, Context())([Segment(text, 0)]) == [-2.0]
    assert signal.build(signal.Options(), Context())([Segment(text, 0)]) == [-2.0]  # the address and the number
