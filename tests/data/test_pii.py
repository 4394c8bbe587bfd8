"""Personal data by its form: check digits against published numbers, spans, reversible masks, a bound on real data."""

from __future__ import annotations

import os
import runpy
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.data import check_digits
from penchant.data.pii import find, mask, unmask

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "pii.py"

# Numbers that issuers and standards print as examples.
PUBLISHED = [
    ("write to jane.doe+news@mail.example.co.uk.", "email", "jane.doe+news@mail.example.co.uk"),
    ("card 4111 1111 1111 1111 expired", "card", "4111 1111 1111 1111"),
    ("card 378282246310005", "card", "378282246310005"),
    ("IBAN DE89 3704 0044 0532 0130 00 at the bank", "iban", "DE89 3704 0044 0532 0130 00"),
    ("pay GB82WEST12345698765432 today", "iban", "GB82WEST12345698765432"),
    ("身份证11010519491231002X。", "national_id", "11010519491231002X"),
    ("N° 2 55 08 14 168 025 38", "national_id", "2 55 08 14 168 025 38"),
    ("IdNr 86095742719", "national_id", "86095742719"),
    ("DNI 12345678Z", "national_id", "12345678Z"),
    ("CF RSSMRA85T10A562S", "national_id", "RSSMRA85T10A562S"),
    ("ssn 219-09-9999", "national_id", "219-09-9999"),
    ("from 203.0.113.7 to here", "ip", "203.0.113.7"),
    ("at 2001:db8:0:0:8:800:200c:417a now", "ip", "2001:db8:0:0:8:800:200c:417a"),
    ("call +44 20 7946 0958", "phone", "+44 20 7946 0958"),
    ("(555) 010-9999 after six", "phone", "(555) 010-9999"),
    ("my phone: 5550109", "phone", "5550109"),
    ("AKIAIOSFODNN7EXAMPLE", "key", "AKIAIOSFODNN7EXAMPLE"),
    ('api_key = "q8Zr2LxV0pNw7Yt3KbMd"', "key", "q8Zr2LxV0pNw7Yt3KbMd"),
]


@pytest.mark.parametrize(("text", "kind", "value"), PUBLISHED, ids=[f"{k}-{v[:12]}" for _, k, v in PUBLISHED])
def test_published_examples_are_found_whole(text: str, kind: str, value: str) -> None:
    assert [(text[a:b], k) for a, b, k in find(text)] == [(value, kind)]


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112",
        "GB83WEST12345698765432",
        "DNI 12345678A",
        "ssn 000-12-3456",
        "version 3.11.4 of 2024-05-06, 12:30:45",
        "127.0.0.1 and 0.0.0.0",
        "std::vector a::b",
        "1 000 000 000 people, 3.14159265, 1,234,567",
        'password = "change_me_please_now"',
        "@decorator and x @ y",
    ],
)
def test_what_only_looks_like_it_is_left_alone(text: str) -> None:
    assert find(text) == []


@given(st.text("0123456789", min_size=11, max_size=18))
def test_luhn_finds_every_wrong_digit(digits: str) -> None:
    """One of ten last digits fits, and then no change of a single digit does."""
    [right] = [digits + d for d in "0123456789" if check_digits.luhn(digits + d)]
    for k, d in enumerate(right):
        assert not check_digits.luhn(right[:k] + str((int(d) + 1) % 10) + right[k + 1 :])


@given(st.lists(st.sampled_from([t for t, _, _ in PUBLISHED] + ["<EMAIL_1>", "<PHONE_2> ", "\n", "é"]), max_size=6))
def test_masks_are_undone_exactly_and_leave_nothing(parts: list[str]) -> None:
    text = " ; ".join(parts)
    masked, values = mask(text)
    assert unmask(masked, values) == text
    assert find(masked) == []


def test_the_same_value_gets_the_same_mask() -> None:
    masked, values = mask("a@b.org, c@d.org, a@b.org <EMAIL_1>")
    assert masked == "<EMAIL_2>, <EMAIL_3>, <EMAIL_2> <EMAIL_1>"
    assert values == {"<EMAIL_2>": "a@b.org", "<EMAIL_3>": "c@d.org"}


@given(st.text(st.sampled_from("0123456789 .-:@+()abAB_/="), max_size=200))
def test_spans_are_in_order_and_apart(text: str) -> None:
    ends = [0]
    for start, end, _ in find(text):
        assert ends[-1] <= start < end <= len(text)
        ends.append(end)


@pytest.mark.skipif("PENCHANT_DATA" not in os.environ, reason="PENCHANT_DATA is not set")
def test_presidio_sentences() -> None:
    bench = runpy.run_path(str(BENCHMARK))
    path = Path(os.environ["PENCHANT_DATA"]) / "safety" / "presidio_synthetic_pii.jsonl.gz"
    counts = bench["measure"](path, find, bench["TYPES"])
    formed: Counter[str] = sum((counts[k] for k in set(bench["TYPES"].values())), Counter())
    assert formed["marked"] == 284
    assert formed["found"] / formed["marked"] > 0.92
    assert formed["right"] / formed["given"] > 0.97
    assert counts["email"]["found"] == counts["email"]["marked"] == counts["email"]["right"] == 37
