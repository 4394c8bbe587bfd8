"""Quality rules at their published thresholds, each passed just before and failed just beyond."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from penchant.data.decontaminate import overlap
from penchant.data.quality import RULES, c4, fineweb, gopher_quality, gopher_repetition

FILLER = [f"word{chr(97 + k // 26)}{chr(97 + k % 26)}" for k in range(400)]


def prose(n: int) -> str:
    return " ".join(["the", "of", *FILLER[: n - 2]])


def test_gopher_counts_words_at_its_bounds() -> None:
    assert gopher_quality(prose(50)) is None
    assert "49 words" in str(gopher_quality(prose(49)))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("the of " + "a " * 60, "mean word length"),
        (prose(100) + " #" * 12, "hashes"),
        ("\n".join(f"- the of {w} {w}x" for w in FILLER[:30]), "bullet"),
        (
            "\n".join(f"the of {w} {w}x..." for w in FILLER[:5]) + "\n" + "\n".join(FILLER[5:15]) + " " + prose(300),
            "ellipsis",
        ),
        (prose(60) + " 1234567" * 20, "have a letter"),
        (" ".join(FILLER[:60]), "English words"),
    ],
)
def test_gopher_names_what_failed(text: str, why: str) -> None:
    assert why in str(gopher_quality(text))


def test_repetition_by_lines_and_by_runs_of_words() -> None:
    assert gopher_repetition(prose(200)) is None
    lines = FILLER[:7] + FILLER[:3]  # 3 of 10 are duplicates: at the bound
    assert "of lines" not in str(gopher_repetition("\n".join(lines)))
    assert "of lines are duplicates" in str(gopher_repetition("\n".join([*lines, FILLER[0]])))
    run = " ".join(FILLER[100:112])
    assert "5-grams" in str(gopher_repetition(f"{run} {prose(30)} {run}"))


def test_c4_wants_five_sentences_and_no_code() -> None:
    sentence = "This line has more than five words.\n"
    assert c4(sentence * 5) is None
    assert "4 sentences" in str(c4(sentence * 4 + "menu\n" * 9))
    assert "curly" in str(c4(sentence * 5 + "{"))
    assert "lorem" in str(c4(sentence * 5 + "Lorem ipsum"))


def test_fineweb_looks_at_lines() -> None:
    long = [f"{w} is a line of more than thirty characters." for w in FILLER[:10]]
    assert fineweb("\n".join(long)) is None
    assert "end with punctuation" in str(fineweb("\n".join(line.rstrip(".") for line in long)))
    assert "duplicate" in str(fineweb("\n".join([*long, long[0], long[1]])))
    assert "shorter" in str(fineweb("\n".join(f"{w}." for w in FILLER[:10])))


def test_contamination_is_a_run_of_words_whatever_the_case_and_punctuation() -> None:
    rule = overlap(["One two three, four five six seven eight nine ten eleven twelve thirteen fourteen."])
    assert rule("x ONE two three four five six seven -- eight nine ten eleven twelve thirteen y") is not None
    assert rule("one two three four five six seven eight nine ten eleven twelve x fourteen") is None
    short = overlap(["a short question here now", "too short"])
    assert short("is a short question here, now?") is not None
    assert short("too short") is None
    assert overlap(["子曰學而時習之不亦說乎有朋自遠方來"])("他說子曰學而時習之不亦說乎有朋") is not None


@pytest.mark.skipif("PENCHANT_DATA" not in os.environ, reason="PENCHANT_DATA is not set")
def test_rules_on_a_sample_of_c4() -> None:
    """What C4 let pass passes its page filter but for what the cut of its lines changed; Gopher's drop some of it."""
    path = Path(os.environ["PENCHANT_DATA"]) / "corpus" / "c4_sample_en.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line, _ in zip(lines, range(400), strict=False)]
    kept = {name: sum(rule(text) is None for text in texts) / len(texts) for name, rule in RULES.items()}
    assert kept["c4"] > 0.75, kept
    assert 0.8 < kept["gopher_quality"] < 1 and 0.8 < kept["gopher_repetition"] < 1 and kept["fineweb"] > 0.9, kept
