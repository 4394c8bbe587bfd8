"""House style of Python: pycodestyle's rules and a docstring on every function; minus the violations of each line.

After the PEP 8 task of "Pretraining Language Models with Human Preferences" (Korbak et al., ICML 2023), which scores by
pycodestyle's violations; the docstring rule is ours. Nothing is executed: texts are tokenized and parsed. A `# noqa`
excuses nothing: who is paid for style must not be able to switch it off.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import io
import re
import tokenize
import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import pycodestyle
from pydantic import BaseModel, ConfigDict, Field

from penchant.contracts import Context, Mark
from penchant.records import Segment

__all__ = ["LANGUAGES", "RANGE", "REMOTE", "SYNTAX_CODES", "Options", "build", "violations"]

RANGE = (None, 0.0)
LANGUAGES: Sequence[str] = ("python",)
REMOTE = False

# Codes that begin so say that the text is no Python, rather than that its style is bad.
SYNTAX_CODES = ("E9", "E112", "E113")
MISSING_DOCSTRING, WRONG_QUOTES = "D1", "Q1"
_WORDS = 2  # a docstring has at least so many
# What Python's parser raises for text that is not Python, nests too deep, or holds NULs.
_NOT_PYTHON = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)


class Options(BaseModel):
    """Which rules hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    max_line_length: int = Field(default=79, ge=1, description="characters a line")
    ignore: tuple[str, ...] = Field(default=(), description="codes to ignore besides pycodestyle's own")
    docstrings: bool = Field(default=True, description="whether a missing docstring is a violation")
    quotes: Literal["single", "double"] | None = Field(default=None, description="which quotes plain strings take")


def build(options: Options, context: Context) -> Callable[[Sequence[Segment]], list[float]]:
    """The signal: for each segment minus the number of violations on the lines that begin in it."""

    def score(segments: Sequence[Segment]) -> list[float]:
        text = "".join(segment.text for segment in segments)
        starts, at = [], 0
        for segment in segments:
            starts.append(at)
            at += len(segment.text)
        counts = [0] * len(segments)
        offsets = _line_starts(text)
        for mark in violations(text, options):
            counts[bisect_right(starts, offsets[mark.line - 1]) - 1] += 1
        return [float(-count) for count in counts]

    return score


def violations(text: str, options: Options | None = None) -> list[Mark]:
    """Every violation in a Python text, by line and code; pure, prints nothing, safe in threads.

    A text that does not parse is still scored: pycodestyle needs only tokens, and the docstring rule then goes by
    header lines (see `_functions_by_lines`), which can err inside strings and in unusual headers.

    Args:
        text: a whole file or a fragment that could stand alone; lines end in "\\n".
        options: the rules; by default pycodestyle's and the docstring rule.
    """
    options = options or _DEFAULTS
    if not text:
        return []
    lines = io.StringIO(text, newline="\n").readlines()
    found = _pycodestyle(lines, options.max_line_length, options.ignore)
    if options.docstrings and not MISSING_DOCSTRING.startswith(options.ignore or ("-",)):
        found += [Mark(line, MISSING_DOCSTRING, "missing docstring") for line in _without_docstring(text, lines)]
    if options.quotes and not WRONG_QUOTES.startswith(options.ignore or ("-",)):
        found += [Mark(line, WRONG_QUOTES, f"use {options.quotes} quotes") for line in _quotes(lines, options.quotes)]
    return sorted(found, key=lambda mark: (mark.line, mark.code))


_DEFAULTS = Options()


class _Report:
    """What pycodestyle's Checker reports to; one a text, so that threads share nothing."""

    def __init__(self, ignored: Callable[[str], bool], count: int):
        self.ignored, self.count, self.found = ignored, count, list[Mark]()

    def error(self, line: int, offset: int, text: str, check: Any) -> str | None:
        code = text[:4]
        if self.ignored(code):
            return None
        # An unclosed bracket is reported behind the last line.
        self.found.append(Mark(min(max(line, 1), self.count), code, text[5:]))
        return code

    def init_file(self, *args: Any) -> None: ...

    def increment_logical_line(self) -> None: ...

    def get_file_results(self) -> int:
        return len(self.found)


@functools.lru_cache(maxsize=64)
def _guide(max_line_length: int, ignore: tuple[str, ...]) -> tuple[Any, Callable[[str], bool]]:
    """pycodestyle's options, made once: parsing them takes longer than scoring a fragment.

    Every value is given, because StyleGuide reads ~/.config/pycodestyle, and scores must not depend on it.
    """
    default = tuple(pycodestyle.DEFAULT_IGNORE.split(","))
    with contextlib.redirect_stdout(io.StringIO()):
        guide = pycodestyle.StyleGuide(
            max_line_length=max_line_length,
            ignore=[*default, *ignore],
            select=[],
            max_doc_length=None,
            indent_size=4,
            hang_closing=False,
            verbose=0,
        )
    return guide.options, functools.lru_cache(maxsize=None)(guide.ignore_code)


_NOQA = re.compile(r"# no(qa|pep8)\b", re.IGNORECASE)  # as pycodestyle looks for it; it has no option against it


def _pycodestyle(lines: list[str], max_line_length: int, ignore: tuple[str, ...]) -> list[Mark]:
    options, ignored = _guide(max_line_length, ignore)
    report = _Report(ignored, len(lines))
    lines = [_NOQA.sub(r"# nx\1", line) if "# " in line else line for line in lines]
    checker = pycodestyle.Checker(lines=lines, options=options, report=report)
    try:
        checker.check_all()
    except Exception as error:  # its checks assume tokens that real Python has; gibberish breaks some
        report.error(getattr(checker, "line_number", 1), 0, f"E901 {type(error).__name__}", None)
    return report.found


def _parse(text: str) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes are pycodestyle's business (W605)
        try:
            return ast.parse(text)
        except _NOT_PYTHON:
            return None


def _without_docstring(text: str, lines: list[str]) -> list[int]:
    """Lines (from 1) of the `def` of each function whose docstring is missing or has fewer than 2 words."""
    tree = _parse(text)
    if tree is None:
        return list(_functions_by_lines(lines))
    missing = []
    for node in _functions(tree):
        first = node.body[0]
        words = ""
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            words = first.value.value
        if len(words.split()) < _WORDS:
            missing.append(min(node.lineno, len(lines)))
    return missing


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function; expressions are not entered, they hold none (which halves the time of `ast.walk`)."""
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, name, None)
            if isinstance(inner, list):
                stack.extend(inner)


_DEF = re.compile(r"[ \t]*(?:async[ \t]+)?def[ \t]+\w+[ \t]*\(")
_HEADER_END = re.compile(r":[ \t]*(?:#[^\n]*)?\n?$")
_OPENING = re.compile(r"""[ \t]*[rRuU]?(?P<quote>\"{3}|'{3}|"|')(?P<rest>.*)""", re.DOTALL)


def _functions_by_lines(lines: list[str]) -> Iterator[int]:
    """The docstring rule for a text that does not parse: `def` lines whose next line opens no string of 2 words."""
    for number, line in enumerate(lines):
        if not _DEF.match(line):
            continue
        end = next((k for k in range(number, min(number + 20, len(lines))) if _HEADER_END.search(lines[k])), None)
        if end is None:
            if re.search(r"\)[^()]*:", line):  # def f(): return 1
                yield number + 1
            continue
        body = next((k for k in range(end + 1, len(lines)) if lines[k].strip()), None)
        opening = _OPENING.match("".join(lines[body : body + 3])) if body is not None else None
        inside = opening["rest"].partition(opening["quote"])[0] if opening else ""
        if len(inside.split()) < _WORDS:
            yield number + 1


def _quotes(lines: list[str], wanted: str) -> Iterator[int]:
    """Lines with a plain string in the other quotes, where the wanted ones would need no escape."""
    right, wrong = ("'", '"') if wanted == "single" else ('"', "'")
    starts = {tokenize.STRING, getattr(tokenize, "FSTRING_START", tokenize.STRING)}
    try:
        for token in tokenize.generate_tokens(iter([*lines, ""]).__next__):
            if token.type not in starts:
                continue
            body = token.string.lstrip("rRbBuUfFtT")
            if body.startswith(wrong) and not body.startswith(wrong * 3) and right not in body:
                yield token.start[0]
    except (*_NOT_PYTHON, tokenize.TokenError, StopIteration):
        return


def _line_starts(text: str) -> list[int]:
    starts = [0]
    at = text.find("\n")
    while at >= 0:
        starts.append(at + 1)
        at = text.find("\n", at + 1)
    return starts
