"""Profiles as tokens: bands, lists, what is too rare, what a text begins with, and what can be asked for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.contracts import Context
from penchant.errors import DataRejected, InputError
from penchant.objectives import profile as objective
from penchant.records import Document
from penchant.text.profile import Attribute, attributes_of, known_values, tokens_of, values_of
from penchant.text.tokenizer import Tokenizer

AGE = Attribute(bands=[30, 45, 60], least=1)


@given(st.integers(0, 120))
def test_a_number_falls_into_one_band_that_holds_it(age):
    (band,) = values_of({"age": age}, "age", AGE)
    if band.startswith("<"):
        assert age < float(band[1:])
    elif band.endswith("+"):
        assert age >= float(band[:-1])
    else:
        low, high = band.split("-")
        assert int(low) <= age <= int(high)


def test_values():
    assert values_of({"age": "31.5"}, "age", AGE) == ["30-44"]
    assert values_of({"score": 0.4}, "x", Attribute(column="score", bands=[0.25, 0.5])) == ["0.25-0.5"]
    assert (
        values_of({"age": None}, "age", AGE) == values_of({"age": "old"}, "age", AGE) == values_of({}, "age", AGE) == []
    )
    assert values_of({"likes": ["Hiking", "jazz music", "Hiking"]}, "likes", Attribute()) == ["hiking", "jazz_music"]
    assert values_of({"where": " New|York, <US> "}, "where", Attribute()) == ["new_york_us"]
    with pytest.raises(ValueError, match="bands rise"):
        Attribute(bands=[3, 2])


def test_only_common_values_get_a_token():
    rows = [{"place": "de"}] * 5 + [{"place": "fr"}] * 3 + [{"place": "it"}]
    assert known_values(rows, {"place": Attribute(least=2)}) == {"place": {"de": 5, "fr": 3}}
    assert known_values(rows, {"place": Attribute(least=1, most=1)}) == {"place": {"de": 5}}
    with pytest.raises(DataRejected, match=r"profile attribute place has no value in 20 texts .*de \(5\)"):
        known_values(rows, {"place": Attribute()})
    with pytest.raises(DataRejected, match="the column is missing or empty"):
        known_values(rows, {"sex": Attribute()})


def test_what_is_asked_for():
    known = ("age=<30", "age=30-44", "sex=f", "sex=m")
    assert attributes_of(["sex=f", "age=<30", "sex=f"], known) == ["age=<30", "sex=f"]
    with pytest.raises(InputError, match="knows no profile 'age=60'; it knows age=<30, age=30-44"):
        attributes_of(["age=60"], known)
    with pytest.raises(InputError, match="no profile 'job=cook'; its attributes are age, sex"):
        attributes_of(["job=cook"], known)
    with pytest.raises(InputError, match="its attributes are none"):
        attributes_of(["a=b"], ())


def made(tokenizer, **options):
    attributes = {"age": AGE, "sex": Attribute(least=1)}
    return objective.build(objective.Options(attributes=attributes, **options), Context(0, tokenizer))


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["hello there", "good day"], 280, ("good", "bad", "age=<30", "age=60+", "sex=f", "sex=m"))


def test_texts_begin_with_their_authors_tokens(tokenizer):
    """A value without a token is left out; nothing is asked of the profile's own tokens."""
    found = made(tokenizer)
    assert found.profile == ("age=<30", "age=60+", "sex=f", "sex=m")
    text = Document("d", "hello\nyou\n", (6, 10), {}, {"age": 20, "sex": "F"})
    encoded = found.transform(text, 0, True)
    lead = [tokenizer.control_ids[name] for name in ("age=<30", "sex=f")]
    assert encoded.ids.tolist() == lead + tokenizer.encode("hello\n") + tokenizer.encode("you\n")
    assert encoded.control.tolist() == [True] * 2 + [False] * (len(encoded.ids) - 2)
    other = found.transform(Document("d", "hello", (5,), {}, {"age": 35, "sex": "x"}), 0, True)
    assert not other.control.any() and tokenizer.decode(other.ids.tolist()) == "hello"
    assert tokens_of({"age": 61, "sex": "m"}, {"age": AGE}, found.profile) == ["age=60+"]


def test_profiles_are_left_out_as_often_as_asked(tokenizer):
    found = made(tokenizer, drop_all=0.3, drop_each=0.2)
    text = Document("d", "hello", (5,), {}, {"age": 20, "sex": "f"})
    counts = np.bincount([int(found.transform(text, i, False).control.sum()) for i in range(4000)], minlength=3) / 4000
    np.testing.assert_allclose(counts, [0.3 + 0.7 * 0.04, 0.7 * 2 * 0.16, 0.7 * 0.64], atol=0.03)
    first = [found.transform(text, i, False).ids.tolist() for i in range(20)]
    assert first == [found.transform(text, i, False).ids.tolist() for i in range(20)]


def test_attributes_that_the_tokenizer_lacks_are_refused(tokenizer):
    options = objective.Options(attributes={"place": Attribute()})
    with pytest.raises(InputError, match="no tokens of the profile attribute 'place'"):
        objective.build(options, Context(0, tokenizer))
