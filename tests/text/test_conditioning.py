"""What stands beside a model: read back as written, assumed where missing; and where sentences are told to end."""

import json

import pytest

from penchant.errors import CorruptCheckpoint, InputError
from penchant.records import Document
from penchant.text.conditioning import FILE, Conditioning, agreement, segment_closers
from penchant.text.segment import segment_ends
from penchant.text.tokenizer import Tokenizer

ENGLISH = (
    "Mr. Bell went out. The dog barked! Did he hear it? No one knows.\n\n“It is late,” he said. The 3.5 men left.\n"
)
CHINESE = "学而时习之。不亦说乎？有朋自远方来。不亦乐乎！「人不知而不愠。」不亦君子乎？"


def documents(text, unit, language="en"):
    return [Document("a.txt", text * 8, segment_ends(text * 8, unit, language))]


def test_what_is_saved_is_loaded(tmp_path, tokenizer):
    said = Conditioning(("good", "bad"), "sentence", "de", (3, 9), {"precision": 0.9, "recall": 1.0}, 128)
    said.save(tmp_path)
    assert Conditioning.load(tmp_path, tokenizer) == said
    more = json.loads((tmp_path / FILE).read_text()) | {"of a later version": 1}
    (tmp_path / FILE).write_text(json.dumps(more))
    assert Conditioning.load(tmp_path, tokenizer) == said


def test_without_a_file_the_tokenizer_tells(tmp_path, tokenizer):
    assert Conditioning.load(tmp_path, tokenizer) == Conditioning(("good", "bad"), after=(tokenizer.newline_id,))
    assert Conditioning.load(tmp_path, tokenizer, "document") == Conditioning(("good", "bad"), "document")


@pytest.mark.parametrize("content", ["[1]", "{", '{"segment": "page"}', '{"after": ["x"]}', '{"control": 1}'])
def test_a_broken_file_is_named(tmp_path, tokenizer, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(CorruptCheckpoint, match=r"penchant\.json"):
        Conditioning.load(tmp_path, tokenizer)


def test_what_the_model_does_not_know_is_refused():
    with pytest.raises(InputError, match="'nice'; ask for good or bad"):
        Conditioning(("good", "bad")).require("nice")
    with pytest.raises(InputError, match="'good'; it was trained without"):
        Conditioning().require("good")
    with pytest.raises(InputError, match=r"lead each sentence, and the data are cut by line; .*segment=sentence"):
        Conditioning(segment="sentence").require_segment("line")


def test_lines_and_documents_need_no_learning(tokenizer):
    good = tokenizer.control_ids["good"]
    assert segment_closers([], tokenizer, "line") == (tokenizer.newline_id,)
    assert segment_closers([], tokenizer, "document") == ()
    line = Conditioning(("good",), after=segment_closers([], tokenizer, "line"))
    assert line.insertions(tokenizer, "good") == {tokenizer.newline_id: good}
    assert line.insertions(tokenizer, None) == {}
    assert line.pieces("a\nb") == ["a\n", "b"]
    exact = agreement(documents(ENGLISH, "line"), tokenizer, (tokenizer.newline_id,))
    assert (exact["precision"], exact["recall"]) == (1, 1)


@pytest.mark.parametrize(("text", "language", "last"), [(ENGLISH, "en", " \n"), (CHINESE, "zh", "。？")])
def test_tokens_that_stand_last_in_sentences_are_found(text, language, last):
    tokenizer = Tokenizer.train([text * 3], 400)
    texts = documents(text, "sentence", language)
    after = segment_closers(texts, tokenizer, "sentence")
    assert set(last) <= {tokenizer.decode([i]) for i in after}
    found = agreement(texts, tokenizer, after)
    assert found["boundaries"] == len(texts[0].ends) - 1
    assert found["recall"] == 1
    assert found["precision"] > 0.85
    assert agreement(texts, tokenizer, ())["recall"] == 0


def test_sentences_of_a_prompt_are_cut_as_in_training():
    layout = Conditioning(("good",), "sentence", "en")
    assert layout.pieces("He left. Mr. B. stayed. Wh") == ["He left. ", "Mr. B. stayed. ", "Wh"]
    assert Conditioning(segment="document").pieces("a\nb") == ["a\nb"]
