from hypothesis import given
from hypothesis import strategies as st

from penchant.contracts import Spot
from penchant.records import Document
from penchant.text.prompts import make_prompt
from penchant.text.segment import segment_ends
from penchant.text.tokenizer import Tokenizer

TEXT = "import os\nx = 1\n\n\ndef f(a):\n    return a\n" + "y = 2\n" * 40 + "def g(b):\n    return b\n"
ENDS = segment_ends(TEXT, "line")
DOCUMENT = Document("a.py", TEXT, ENDS)
LABELS = ["good" if k % 3 else "bad" for k in range(len(ENDS))]
HEADER = TEXT.index("def g(b):\n") + len("def g(b):\n")
FIRST = TEXT.index("def f(a):\n") + len("def f(a):\n")


def test_whole_beginning_with_labels(tokenizer: Tokenizer) -> None:
    prompt = make_prompt(DOCUMENT, Spot(FIRST, {"header": "def f(a):"}), tokenizer, 500, LABELS, last="good")
    assert prompt is not None
    expected: list[int] = []
    for k, line in enumerate(TEXT[:FIRST].splitlines(keepends=True)):
        label = "good" if k == 4 else LABELS[k]
        expected += [tokenizer.control_ids[label], *tokenizer.encode(line)]
    assert list(prompt.ids) == expected
    assert prompt.text == TEXT[:FIRST]
    assert prompt.source == "a.py"
    assert prompt.columns == {"header": "def f(a):", "reference": TEXT[FIRST:]}


def test_without_labels_there_are_no_control_tokens(tokenizer: Tokenizer) -> None:
    prompt = make_prompt(DOCUMENT, Spot(FIRST), tokenizer, 500, last="good")
    assert prompt is not None
    assert list(prompt.ids) == tokenizer.encode(TEXT[:FIRST])


@given(limit=st.integers(12, 300))
def test_the_limit_counts_text_tokens(tokenizer: Tokenizer, limit: int) -> None:
    prompt = make_prompt(DOCUMENT, Spot(HEADER), tokenizer, limit, LABELS, last="bad")
    assert prompt is not None
    text = [i for i in prompt.ids if i not in tokenizer.special_ids]
    whole = tokenizer.encode(TEXT[:HEADER])
    assert text == whole[-limit:]
    # The header is led by the label that was asked for.
    at = max(k for k, i in enumerate(prompt.ids) if i in tokenizer.special_ids)
    assert prompt.ids[at] == tokenizer.control_ids["bad"]
    assert tokenizer.decode(prompt.ids[at:]) == "def g(b):\n"
    # A line that the limit cuts has no label; one that begins with the prompt has.
    starts = {0, *ENDS}
    begins_a_line = HEADER - len(tokenizer.decode(text)) in starts
    assert (prompt.ids[0] in tokenizer.special_ids) == begins_a_line


def test_spot_inside_a_segment(tokenizer: Tokenizer) -> None:
    prompt = make_prompt(DOCUMENT, Spot(HEADER - 4), tokenizer, 40, LABELS)
    assert prompt is not None
    assert prompt.text.endswith("def g(")
    assert str(prompt.columns["reference"]).startswith("b):\n")


def test_no_prompt(tokenizer: Tokenizer) -> None:
    assert make_prompt(DOCUMENT, Spot(HEADER), tokenizer, 2) is None
    assert make_prompt(DOCUMENT, Spot(0), tokenizer, 50) is None
    assert make_prompt(DOCUMENT, Spot(len(TEXT) + 1), tokenizer, 50) is None
    assert make_prompt(Document("e", ""), Spot(0), tokenizer, 50) is None


def test_reference_has_a_limit(tokenizer: Tokenizer) -> None:
    text = "a\n" + "b" * 9000
    prompt = make_prompt(Document("b", text, segment_ends(text, "line")), Spot(2), tokenizer, 9)
    assert prompt is not None
    assert len(prompt.columns["reference"]) == 4000
