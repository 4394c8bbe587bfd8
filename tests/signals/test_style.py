import sys
import textwrap
import threading
import warnings

import pycodestyle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.contracts import Context
from penchant.data.files import find
from penchant.records import Segment
from penchant.signals import style
from penchant.signals.style import Options, build, violations
from penchant.text.segment import segment_ends


def codes(text: str, **options: object) -> list[tuple[int, str]]:
    return [(mark.line, mark.code) for mark in violations(textwrap.dedent(text), Options(**options))]  # type: ignore[arg-type]


def test_clean_code_has_none() -> None:
    assert codes('def f(a):\n    """Return it doubled."""\n    return 2 * a\n') == []
    assert violations("") == []


def test_pycodestyle_and_docstrings_by_line() -> None:
    text = """\
        import os
        def f(a):
            return  a


        class C:
            async def g(self, b):
                \"\"\"One.\"\"\"
                def h(): pass
                return [b,h]
    """
    assert codes(text) == [(2, "D1"), (2, "E302"), (3, "E271"), (7, "D1"), (9, "D1"), (10, "E231")]


def test_docstring_needs_two_words() -> None:
    for body in ('"""Two words."""', "'Two words'", 'r"""Raw\n    words."""'):
        assert "D1" not in [code for _, code in codes(f"def f():\n    {body}\n")]
    for body in ('"""One."""', "pass", "1", '"""   """', "b'two words'", 'f"two words"'):
        assert (1, "D1") in codes(f"def f():\n    {body}\n")


def test_a_decorated_function_counts_on_its_def_line() -> None:
    assert (2, "D1") in codes("@cached\ndef f(\n    a,\n):\n    return a\n")


def test_functions_are_found_wherever_statements_stand() -> None:
    text = """\
        if a:
            def one(): ...
        else:
            def two(): ...
        try:
            def three(): ...
        except E:
            def four(): ...
        finally:
            with x:
                def five(): ...
        for i in x:
            def six(): ...
        while x:
            match y:
                case 1:
                    def seven(): ...
    """
    assert [line for line, code in codes(text) if code == "D1"] == [2, 4, 6, 8, 11, 13, 17]


def test_options() -> None:
    assert codes("x = '" + "a" * 80 + "'\n") == [(1, "E501")]
    assert codes("x = '" + "a" * 80 + "'\n", max_line_length=100) == []
    assert codes("x=1;y = 2\n") == [(1, "E225"), (1, "E231"), (1, "E702")]
    assert codes("x=1;y = 2\n", ignore=("E2",)) == [(1, "E702")]
    assert codes("def f():\n    return 1\n", docstrings=False) == []
    assert codes("def f():\n    return 1\n", ignore=("D",)) == []
    assert Options(ignore=["E2"]).ignore == ("E2",)


def test_default_ignore_is_pycodestyles() -> None:
    assert codes("x = (1\n     + 2)\n") == []  # W503


def test_quotes() -> None:
    text = 'a = \'x\'\nb = "y"\nc = \'say "hi"\'\nd = "it\'s"\ne = """z"""\nf = f"{a}"\n'
    assert codes(text, quotes="single") == [(2, "Q1"), (6, "Q1")]
    assert codes(text, quotes="double") == [(1, "Q1")]
    assert codes("a = 'x'\nb = (\"y\n", quotes="single")[0][1] != "Q1"  # gibberish does not break it


def test_text_that_does_not_parse_is_scored_by_lines() -> None:
    text = """\
        def bad(a:
            return a


        def kept(a):
            \"\"\"Two words.\"\"\"
            return a


        def bare(a):  # comment
            return a
        x = = 1
    """
    found = codes(text)
    assert (10, "D1") in found
    assert (5, "D1") not in found
    assert all(1 <= line <= 12 for line, _ in found)


def test_unclosed_bracket_is_reported_inside_the_text() -> None:
    assert any(code.startswith("E9") for _, code in codes("x = (1,\n"))
    assert all(line <= 1 for line, _ in codes("x = (1,\n"))
    assert style.SYNTAX_CODES == ("E9", "E112", "E113")


FRAGMENTS = st.lists(
    st.sampled_from(
        [
            "def f(",
            "):",
            "\n",
            "    ",
            "\t",
            '"""',
            "'",
            "x",
            " = ",
            "(",
            "]",
            "\\",
            "#",
            "\x0c",
            "class C:",
            "é",
            "if x:\n",
            "lambda:",
            "@",
            ",",
            "0o9",
            "\x00",
            "async ",
            "f'{",
            "}",
            ";",
            "天",
        ]
    ),
    max_size=40,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(FRAGMENTS | st.text())
def test_any_text_is_scored_quietly(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = violations(text, Options(quotes="single"))
    lines = max(1, text.count("\n") + (not text.endswith("\n")))
    assert all(1 <= mark.line <= lines for mark in found)
    ends = segment_ends(text, "line")
    segments = [Segment(text[a:b], a) for a, b in zip((0, *ends), ends, strict=False)]
    scores = build(Options(quotes="single"), Context())(segments)
    assert len(scores) == len(segments)
    assert -sum(scores) == (len(found) if segments else 0)


def test_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    violations("x = '\\d'\nif x is 1: y=(\n")
    assert capfd.readouterr() == ("", "")


def test_threads_do_not_mix() -> None:
    texts = ["x=1\n" * k for k in range(1, 30)]
    expected = [violations(text) for text in texts]
    found: dict[int, object] = {}

    def work(k: int) -> None:
        found[k] = violations(texts[k])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[k] for k in range(len(texts))] == expected


def test_a_users_configuration_changes_nothing(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    for name in ("setup.cfg", "tox.ini", "user"):
        (folder / name).write_text("[pycodestyle]\nmax-line-length = 20\nignore = E225\nodd = 1\n")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(pycodestyle, "USER_CONFIG", str(folder / "user"))
    style._guide.cache_clear()
    try:
        assert codes("long_name_of_something = 1\nx=1\n") == [(2, "E225")]
    finally:
        style._guide.cache_clear()


def test_scores_by_segment() -> None:
    text = "x=1\ny = 2\n\n\ndef f():\n    return x ,y"
    scores = {}
    for unit in ("line", "document"):
        ends = segment_ends(text, unit)
        segments = [Segment(text[a:b], a) for a, b in zip((0, *ends), ends, strict=False)]
        scores[unit] = build(Options(), Context())(segments)
    assert scores["line"] == [-1, 0, 0, 0, -1, -3]  # E225; D1; E203, E231, W292
    assert scores["document"] == [-5]


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="the figures are Python 3.11's tokenizer's")
def test_same_as_pycodestyle_itself() -> None:
    for source in find("stdlib").sources[::90]:
        text = source.path.read_text(encoding="utf-8")
        report = pycodestyle.StyleGuide(quiet=2).init_report(pycodestyle.BaseReport)
        pycodestyle.Checker(
            lines=text.splitlines(True), options=pycodestyle.StyleGuide(quiet=2).options, report=report
        ).check_all()
        assert len(violations(text, Options(docstrings=False))) == report.total_errors


@pytest.mark.parametrize("excuse", ["# noqa", "# NoQA: E501", "# nopep8", "# noqa comment"])
def test_a_noqa_excuses_nothing(excuse: str) -> None:
    line = f"x = [{', '.join(str(10**9 + i) for i in range(8))}]  {excuse}\n"
    for text in (line, f'x = """\n{"a " * 50}\n"""  {excuse}\n', f"if x == None:  {excuse}\n    pass\n"):
        plain = text.replace(excuse, "# word" + "s" * (len(excuse) - 6))
        assert [(m.line, m.code) for m in violations(text)] == [(m.line, m.code) for m in violations(plain)] != []
