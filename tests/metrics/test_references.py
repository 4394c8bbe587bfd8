"""Metrics that compare with references: against their libraries, by known values, and in Chinese."""

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from penchant import registry
from penchant.contracts import Context

NAMES = ["exact_match", "token_f1", "bleu", "chrf", "ter", "rouge"]
SAID = "the quick brown fox jumped over the dog"
MEANT = "The quick brown fox jumps over the lazy dog."
CHINESE = "今天天气很好，我们去公园散步。"


def made(name, **options):
    module = registry.load("metrics", name)
    return module.build(module.Options(**options), Context())


@pytest.mark.parametrize("name", NAMES)
def test_identical_texts_score_1_and_strangers_less(name):
    options = {"tokenize": "zh"} if name == "bleu" else {"asian_support": True} if name == "ter" else {}
    for text in (SAID, CHINESE):
        score = made(name, **(options if text == CHINESE else {}))
        assert score([text], [[text]]) == pytest.approx([1.0])
        assert score([text, ""], [["zebra xylophone"], ["x"]])[0] < 0.2
        assert score([text], [["nothing of that", text]]) == pytest.approx([1.0])  # the best reference counts


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_scores_within_bounds(said, meant):
    for name in NAMES:
        (found,) = made(name)([said], [[meant]])
        assert 0 <= found <= 1


def test_against_the_libraries():
    assert made("bleu")([SAID], [[MEANT]])[0] == pytest.approx(sacrebleu.sentence_bleu(SAID, [MEANT]).score / 100)
    assert made("chrf")([SAID], [[MEANT]])[0] == pytest.approx(sacrebleu.sentence_chrf(SAID, [MEANT]).score / 100)
    assert made("ter")([SAID], [[MEANT]])[0] == pytest.approx(1 - sacrebleu.sentence_ter(SAID, [MEANT]).score / 100)
    theirs = RougeScorer(["rouge2", "rougeL"]).score(MEANT, SAID)
    for kind in ("rouge2", "rougeL"):
        assert made("rouge", kind=kind)([SAID], [[MEANT]])[0] == pytest.approx(theirs[kind].fmeasure)
    stems = RougeScorer(["rouge1"], use_stemmer=True).score("jumping foxes", "jumped fox")["rouge1"].fmeasure
    assert made("rouge", kind="rouge1", stem=True)(["jumped fox"], [["jumping foxes"]])[0] == pytest.approx(stems)


def test_squads_own_examples():
    exact, f1 = made("exact_match"), made("token_f1")
    assert exact(["The  Normans!", "normans", "Norman"], [["normans"]] * 3) == [1, 1, 0]
    assert made("exact_match", strict=True)(["Normans ", "normans"], [["Normans"]] * 2) == [1, 0]
    assert f1(["in the 10th century"], [["10th and 11th centuries"]])[0] == pytest.approx(
        2 * (1 / 3) * (1 / 4) / (7 / 12)
    )
    assert f1(["天气好"], [["天气很好"]])[0] == pytest.approx(2 * 1 * 0.75 / 1.75)
    assert f1(["", "a"], [[""], [""]]) == [1, 1]  # nothing and an article are the same nothing
