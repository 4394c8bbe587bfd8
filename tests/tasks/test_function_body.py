import ast
import textwrap
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from penchant.contracts import Context, Mark
from penchant.records import Document, Prompt
from penchant.tasks import function_body
from penchant.tasks.function_body import MEASURES, FunctionBody, Options


def task(**options):
    return function_body.build(Options(**options), Context())


def prompt(header="def f(a, b):"):
    return Prompt((), header + "\n", "a.py", {"header": header, "indent": len(header) - len(header.lstrip())})


def judge(text, stop="end", header="def f(a, b):", **options):
    return task(**options).judge(prompt(header), text, stop)


def value(judgement, name):
    num, den = judgement.measures[name]
    return num / den


GOOD = '    """Add two numbers."""\n    total = a + b\n    print(total)\n    return total\n'

SOURCE = '''\
import os


def one(a):
    """Say one."""
    return a


def several(
        a,
        b):
    return a


def short(a): return a


class C:
    @property
    async def two(self, x={1: 2}) -> int:  # a comment
        pass

    async def three(self, x=lambda: 0) -> "int":
        def inner():
            return 'def no():\\n'
        return inner

    def odd(self, x={1:
                     2}):
        return x
'''


def test_spots_are_ends_of_single_line_headers():
    spots = task().spots(Document("a.py", SOURCE))
    headers = [spot.columns["header"] for spot in spots]
    assert headers == [
        "def one(a):",
        '    async def three(self, x=lambda: 0) -> "int":',
        "        def inner():",
    ]
    for spot in spots:
        assert SOURCE[: spot.end].endswith(spot.columns["header"] + "\n")
    assert [spot.columns["indent"] for spot in spots] == [0, 4, 8]


@pytest.mark.parametrize("text", ["def f(:\n    pass\n", "", "\0", "x = 1\n", "def f():\r    pass\r", "(" * 5000])
def test_no_spots_where_nothing_parses_or_is_defined(text):
    assert task().spots(Document("a.py", text)) == []


def test_spots_of_this_file_lead_to_bodies():
    text = Path(__file__).read_text(encoding="utf-8")
    for spot in task().spots(Document("a.py", text)):
        assert text[spot.end :].startswith(" " * (spot.columns["indent"] + 1))


def test_a_good_body_earns_all():
    found = judge(GOOD)
    assert value(found, "reward") == 1
    assert found.measures["violations_per_line"] == (0, 4)
    assert (value(found, "parse_rate"), value(found, "docstring_rate"), found.marks) == (1, 1, ())
    assert found.measures["violations_outside_docstrings"] == (0, 3)
    assert found.credit == len(GOOD)


def test_reward_by_hand():
    found = judge("    x=a\n    return x\n")
    # E225 and the missing docstring on 2 lines, 2 statements of 3: (1 - 2 * 2 / 2) is 0.
    assert sorted(mark.code for mark in found.marks) == ["D1", "E225"]
    assert value(found, "reward") == 0
    found = judge('    """Say it."""\n    x=a\n    y = x\n    return y\n')
    assert value(found, "reward") == pytest.approx(1 - 2 / 4)
    found = judge('    """Say it."""\n    return a\n')
    assert value(found, "reward") == pytest.approx(1 / 3)


def test_the_missing_docstring_counts_once_and_only_as_such():
    found = judge("    x = a\n    return x\n")
    assert [(mark.line, mark.code) for mark in found.marks] == [(0, "D1")]
    assert found.measures["violations_per_line"] == (1, 2)
    assert found.measures["style_per_line"] == (1, 2)
    assert found.measures["pep8_alone_per_line"] == (0, 2)
    assert found.measures["violations_outside_docstrings"] == (0, 2)
    assert value(found, "docstring_rate") == 0
    assert judge("    x = a\n    return x\n", style={"docstrings": False}).marks == ()


def test_a_docstring_of_one_word_is_none():
    found = judge('    """Adds."""\n    return a\n')
    assert value(found, "docstring_rate") == 0
    assert found.measures["violations_per_line"] == (1, 2)


def test_what_the_header_breaks_is_not_counted():
    assert judge(GOOD, header="def f( a,b ):").marks == ()


@pytest.mark.parametrize("indent", [4, 8, 12, 2, 3])
def test_the_same_body_is_judged_alike_at_any_depth(indent):
    body = textwrap.indent(GOOD, " " * indent)
    found = judge(body, header=" " * indent + "def f(a, b):")
    assert value(found, "parse_rate") == 1
    assert {mark.code for mark in found.marks} <= {"E111", "E114", "E117"}
    assert value(found, "statements") == 3
    if indent % 4 == 0:
        assert value(found, "reward") == 1


def test_tabs():
    found = judge("\t\treturn a\n\tx = 1\n", header="\tdef f(a):")
    assert found.text == "\t\treturn a\n"
    assert value(found, "parse_rate") == 1


def test_cut_at_the_first_line_no_deeper_than_the_header():
    rest = "\n\ndef g():\n    return 1\n"
    found = judge(GOOD + rest, stop="length")
    assert found.text == GOOD
    assert found.credit == len(GOOD) + 2
    assert value(found, "reward") == 1
    found = judge("        return a\n    y = 2\n", header="    def f(a):")
    assert found.text == "        return a\n"


@pytest.mark.parametrize(
    "tail",
    [
        "    retur",
        "    x = (1,\n         2",
        "    if a:\n",
        "    if a:\n        for b in a:\n",
        "    @property\n",
        "    # say\n",
    ],
)
def test_a_body_cut_by_the_limit_is_judged_to_its_last_complete_logical_line(tail):
    found = judge(GOOD + tail, stop="length")
    assert found.text == GOOD
    assert value(found, "reward") == 1
    assert found.credit == len(GOOD + tail)


def test_other_faults_are_not_cut_away():
    for fault in ("    x = = 2\n", "      y = 1\n", "        z = 2\n      w = 1\n"):
        assert value(judge(GOOD + fault + "    retu", stop="length"), "parse_rate") == 0


def test_not_cut_back_when_it_ended_by_itself():
    assert value(judge(GOOD + "    x = (1,\n"), "parse_rate") == 0


@pytest.mark.parametrize("text", ['    """Never closed\n    text\n', "    '''", '    """'])
@pytest.mark.parametrize("stop", ["length", "end"])
def test_an_unclosed_docstring_earns_nothing(text, stop):
    found = judge(text, stop=stop)
    assert value(found, "reward") == 0
    assert value(found, "parse_rate") == 0
    assert value(found, "docstring_rate") == 0


@pytest.mark.parametrize("text", ["", "\n\n", "x = 1\n", "   \n", "def g():\n    pass\n"])
def test_nothing_written_is_counted_and_earns_nothing(text):
    found = judge(text)
    assert found.measures["violations_per_line"] == (0, 0)
    assert found.measures["reward"] == (0, 1)
    assert found.measures["parse_rate"] == (0, 1)
    assert set(found.measures) == set(MEASURES)


def test_what_a_fragment_cannot_help_is_ignored():
    text = GOOD.rstrip("\n")
    assert judge(text).marks == ()  # no newline at the end
    assert judge(GOOD + "\n\n\n").marks == ()  # blank lines at the end
    assert judge(GOOD + "\n\n\n").measures["length"] == (4, 1)


def test_empty_statements_and_copies_are_not_real():
    def count(text):
        return value(judge(text), "statements")

    assert count('    """Say it."""\n    pass\n    ...\n    1\n') == 0
    assert count("    x = 1\n    x = 1\n    x = 1\n") == 1
    assert count("    if a:\n        x = 1\n    else:\n        x = 1\n") == 2


def test_docstrings_of_inner_functions_are_docstring_lines():
    text = (
        '    """Say it."""\n    def g():\n        """Say\n        more.\n        """\n        return a\n    return g\n'
    )
    found = judge(text)
    assert found.measures["violations_outside_docstrings"][1] == 3


def test_violations_inside_docstrings_stand_apart():
    found = judge('    """Say it.   \n    """\n    return a\n')
    assert found.measures["violations_outside_docstrings"] == (0, 1)
    assert found.measures["pep8_alone_per_line"] == (1, 3)
    found = judge('    """Say it.   \n    """\n    return a b\n')  # does not parse
    assert found.measures["violations_outside_docstrings"][1] == 1
    assert value(found, "docstring_rate") == 1


def test_a_stub_of_the_style_is_enough():
    stub = FunctionBody(lambda text: [Mark(n, "X1", "") for n in range(1, 99)])
    found = stub.judge(prompt("    def f():"), "        return 1\n", "end")
    assert {mark.line for mark in found.marks} == {1}


PIECES = [*"abc = ()[]{}:\n\t\"'#\\\0\f\r,.0\u2028\x85é漢@", "    ", '"""', "def ", "if ", "\n    "]
CODE = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)


@settings(max_examples=300, deadline=None)
@given(
    text=st.text() | CODE,
    stop=st.sampled_from(["end", "length"]),
    header=st.sampled_from(["def f():", "    def f():", "\tdef f():"]),
)
@example(text="    x = " + "(" * 3000, stop="end", header="def f():")
@example(text="    x = " + "-" * 20000 + "1\n", stop="end", header="def f():")
@example(text="    x = " + "1+" * 5000 + "1\n", stop="length", header="def f():")
@example(text="".join(" " * i + "if x:\n" for i in range(1, 200)), stop="end", header="def f():")
@example(text="    x = '\ud800'\n", stop="end", header="def f():")
@example(text="    \0\n", stop="length", header="def f():")
@example(text="    x = 1\f\n\f    y = 2\n", stop="length", header="def f():")
def test_any_text_is_judged(text, stop, header):
    found = TASK.judge(prompt(header), text, stop)
    assert set(found.measures) == set(MEASURES)
    assert 0 <= value(found, "reward") <= 1
    assert text.startswith(found.text)
    assert len(found.text) <= found.credit <= len(text)
    lines = found.text.count("\n") + (not found.text.endswith("\n"))
    assert all(0 <= mark.line <= lines for mark in found.marks)
    for name in MEASURES:
        assert found.measures[name][0] >= 0
        assert found.measures[name][1] >= 0


TASK = task()


def test_real_code_mostly_parses():
    text = Path(ast.__file__).read_text(encoding="utf-8")
    found = [
        TASK.judge(Prompt((), "", "", spot.columns), text[spot.end : spot.end + 300], "length")
        for spot in TASK.spots(Document("ast.py", text))
    ]
    assert sum(value(one, "parse_rate") for one in found) > 0.75 * len(found)


TRIES = '''\
    """Read it all."""
    try:
        with open(a) as handle:
            try:
                b = handle.read()
            except (OSError,
                    ValueError) as error:
                raise KeyError(a) from error
            else:
                b += 1
    except KeyError:
        for x in b:
            if x:
                continue
            else:
                print(x)
    finally:
        print(b)
    try: b += 2
    except* TypeError:
        pass

    @cached
    def inner():
        match b:
            case 1:
                return a
        return 2
    return inner
'''


def test_a_body_that_parses_does_so_wherever_the_limit_cuts_it():
    whole = judge(TRIES)
    assert value(whole, "parse_rate") == 1
    before = 0.0
    for n in range(len(TRIES)):
        found = judge(TRIES[:n], stop="length")
        if found.text:
            assert value(found, "parse_rate") == 1, TRIES[:n]
            assert TRIES.startswith(found.text)
            assert max((mark.line for mark in found.marks), default=0) <= found.text.count("\n")
            assert value(found, "statements") >= before
            before = value(found, "statements") - 1  # a header that waits may lose its own
    assert value(judge(TRIES[: TRIES.index("    finally")], stop="end"), "parse_rate") == 1
    opened = TRIES[: TRIES.index("            except (")]
    assert value(judge(opened, stop="end"), "parse_rate") == 0  # nothing cut it: it is a fault
    assert value(judge(opened, stop="length"), "parse_rate") == 1


def test_what_stands_in_an_open_try_is_judged():
    body = GOOD.replace("    return total\n", "    try:\n        c=total\n")
    found = judge(body + "        ret", stop="length")
    assert value(found, "parse_rate") == 1
    assert [mark.code for mark in found.marks] == ["E225"]
    assert found.measures["length"] == (5, 1)
    left = body + "    return c\n" + "    ret"
    assert value(judge(left, stop="length"), "parse_rate") == 0  # a `try` left behind without `except` is a fault
    odd = "  try:\n    x = 1\n    y = 2\n"  # our own closing lines are no E111
    assert sum(mark.code == "E111" for mark in judge(odd, stop="length").marks) == 1
