import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penchant.errors import CorruptCheckpoint, DataRejected, InputError
from penchant.text.tokenizer import Tokenizer


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
@example(text="<|good|>a<|endoftext|>\n<|pad|>")
@example(text="\n\n \r\n\t\x00")
@example(text="  def f():\n\treturn '天'  \n")
def test_any_text_survives_and_holds_no_special_token(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not set(ids) & set(tokenizer.special_ids)
    assert tokenizer.encode_batch([text, text]) == [ids, ids]


def test_newline_is_always_a_token_of_its_own(tokenizer: Tokenizer) -> None:
    assert tokenizer.newline_id is not None
    text = "a\n\n\n  b\n"
    ids = tokenizer.encode(text)
    assert ids.count(tokenizer.newline_id) == text.count("\n")
    assert [i for i in range(tokenizer.vocab_size) if "\n" in tokenizer.decode([i])] == [tokenizer.newline_id]


def test_line_by_line_is_the_same_as_whole(tokenizer: Tokenizer, texts: list[str]) -> None:
    for text in texts:
        lines = text.splitlines(keepends=True)
        assert [i for ids in tokenizer.encode_batch(lines) for i in ids] == tokenizer.encode(text)


def test_special_ids(tokenizer: Tokenizer) -> None:
    assert tokenizer.eos_id != tokenizer.pad_id
    assert set(tokenizer.control_ids) == {"good", "bad"}
    assert len(tokenizer.special_ids) == 4
    assert max(tokenizer.special_ids) < tokenizer.vocab_size <= 400
    assert tokenizer.decode([tokenizer.control_ids["good"], *tokenizer.encode("x"), tokenizer.eos_id]) == "x"


def test_lone_surrogates_become_replacement_characters(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"


def test_save_and_load_give_the_same(tokenizer: Tokenizer, texts: list[str], tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    for text in [*texts, "<|good|> and <|pad|>", "new wörds\n"]:
        assert loaded.encode(text) == tokenizer.encode(text)
    assert (loaded.eos_id, loaded.pad_id, loaded.newline_id) == (
        tokenizer.eos_id,
        tokenizer.pad_id,
        tokenizer.newline_id,
    )
    assert loaded.control_ids == tokenizer.control_ids


def test_transformers_gives_the_same_ids(tokenizer: Tokenizer, texts: list[str], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    for text in [*texts, "  two  spaces , and\n\n\ttabs", "", "\n", "it 's ."]:
        assert theirs(text)["input_ids"] == tokenizer.encode(text)
        assert theirs.decode(tokenizer.encode(text)) == text
    assert theirs.eos_token_id == theirs.bos_token_id == tokenizer.eos_id
    assert theirs.pad_token_id == tokenizer.pad_id
    assert len(theirs) == tokenizer.vocab_size
    # There a control token can be asked for by writing it.
    assert theirs("<|good|>x")["input_ids"] == [tokenizer.control_ids["good"], *tokenizer.encode("x")]
    assert theirs.decode([tokenizer.control_ids["bad"], tokenizer.eos_id], skip_special_tokens=True) == ""


def test_training_twice_gives_the_same_file(tokenizer: Tokenizer, texts: list[str], tmp_path: Path) -> None:
    code = (
        "import json, sys; from penchant.text.tokenizer import Tokenizer;"
        "Tokenizer.train(json.loads(sys.argv[1]), 400).save(sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", code, json.dumps(texts), str(tmp_path / "a")], check=True)
    tokenizer.save(tmp_path / "b")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_broken_folders_are_named(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        Tokenizer.load(tmp_path / "absent")
    with pytest.raises(CorruptCheckpoint, match=r"tokenizer\.json: the file is missing"):
        Tokenizer.load(tmp_path)
    tokenizer.save(tmp_path)
    whole = (tmp_path / "tokenizer.json").read_text(encoding="utf-8")
    for broken in (whole[: len(whole) // 2], "", "{}", whole.replace("<|endoftext|>", "<|other|>")):
        (tmp_path / "tokenizer.json").write_text(broken, encoding="utf-8")
        with pytest.raises(CorruptCheckpoint, match=r"tokenizer\.json"):
            Tokenizer.load(tmp_path)


def test_nothing_to_learn_from() -> None:
    with pytest.raises(InputError, match="too small"):
        Tokenizer.train(["abc"], 100)
    with pytest.raises(DataRejected, match="no text"):
        Tokenizer.train(["", ""], 300)
