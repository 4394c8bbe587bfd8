"""Write the body of a Python function after its header; judged by house style, parsing and real statements.

The completion stands in a class for each level that its header is indented by, so that it parses as it would in its
file; it ends before the first line that is indented no deeper than the header. What the header already breaks is not
held against the completion, except a missing docstring, which only the completion could have written.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from penchant.contracts import Context, Judgement, Mark, Measure, Spot
from penchant.records import Document, Prompt
from penchant.signals.style import SYNTAX_CODES, violations
from penchant.signals.style import Options as StyleOptions

__all__ = ["MEASURES", "FunctionBody", "Options", "build"]

MEASURES = {
    "violations_per_line": Measure("violations of the house style a line, syntax errors counted in", "lower"),
    "style_per_line": Measure("violations a line without syntax errors (E9, E112, E113)", "lower"),
    "violations_outside_docstrings": Measure("violations a line outside docstrings, docstring rule left out", "lower"),
    "violations_outside_docstring_lines": Measure(
        "violations a line on lines that are not docstrings, a missing docstring counted in", "lower"
    ),
    "pep8_alone_per_line": Measure("violations a line by pycodestyle alone, docstring rule left out", "lower"),
    "parse_rate": Measure("share of completions that parse", "higher"),
    "docstring_rate": Measure("share of completions that begin with a docstring of enough words", "higher"),
    "reward": Measure(
        "parses x (1 - 2 violations a line, at least 0) x (distinct real statements / 3, at most 1)", "higher"
    ),
    "length": Measure("lines of the body that are judged"),
    "characters": Measure("characters of the body that are judged"),
    "statements": Measure("distinct real statements"),
}
MISSING_DOCSTRING = "D1"
# The end of a fragment is not the end of a file, and what follows the function is not there to be told apart.
IGNORED = ("E902", "W391", "W292", "E305")

_HEADER = re.compile(r"[ \t]*(?:async[ \t]+)?def[ \t].*:$")
_DOCSTRING = re.compile(
    r"\s*(?:#[^\n]*\n\s*)*[rRuU]?"
    r"(\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|\"(?!\"\")(?:\\.|[^\\\n\"])*\"|'(?!'')(?:\\.|[^\\\n'])*')",
    re.DOTALL,
)
_SILENT = (tokenize.INDENT, tokenize.DEDENT, tokenize.NL, tokenize.COMMENT)
# What `ast` and `tokenize` raise for text that is not Python, is too deep for them, or holds NULs.
_NOT_PYTHON = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError, tokenize.TokenError)


class Options(BaseModel):
    """Options of the task."""

    model_config = ConfigDict(extra="forbid")
    style: StyleOptions = Field(default=StyleOptions(), description="options of the signal `style`")
    statements: int = Field(default=3, ge=1, description="distinct real statements that earn the whole reward")
    cost: float = Field(default=2.0, ge=0, description="what a violation a line takes off the reward")


def build(options: Options, context: Context) -> FunctionBody:
    """The task."""
    return FunctionBody(lambda text: violations(text, options.style), options)


class FunctionBody:
    """The task; see the module's help.

    Args:
        violations: the marks of a whole Python text, lines counted from 1, a missing docstring (D1) on its `def` line.
    """

    measures = MEASURES

    def __init__(self, violations: Callable[[str], Sequence[Mark]], options: Options | None = None):
        self.violations, self.options = violations, options or Options()

    def spots(self, document: Document) -> list[Spot]:
        """The ends of single-line function headers; none where the document does not parse."""
        tree = _parse(document.text)
        if tree is None:
            return []
        lines = document.text.split("\n")
        starts = [0]
        for line in lines:
            starts.append(starts[-1] + len(line) + 1)
        found = []
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.lineno >= len(lines):
                continue
            header = lines[node.lineno - 1]
            # The match fails for texts whose lines Python counts otherwise, the parse for headers of several lines.
            if _HEADER.match(header) and _parse(header.strip() + " pass") is not None:
                indent = len(header) - len(header.lstrip())
                found.append(Spot(starts[node.lineno], {"header": header, "indent": indent}))
        return sorted(found, key=lambda spot: spot.end)

    def judge(self, prompt: Prompt, text: str, stop: str) -> Judgement:
        """Score the completion of a header; see `MEASURES` for what is measured.

        Args:
            prompt: with the column `header`.
            text: what was written after the header's newline.
            stop: "length" if the token limit ended it; its last incomplete logical line is then left out, and a `try:`
                that lost its `except` to the limit counts as closed: what stands in it is judged, and can parse.
        """
        header = str(prompt.columns["header"]).rstrip("\n")
        before = _wrapper(header[: len(header) - len(header.lstrip())]) + header + "\n"
        body, credit = _body(text, header)
        closing = ""
        if stop == "length" and credit == len(text):
            body, closing = _complete(before, body)
        body = _without_blank_end(body)
        return self._score(before, body, closing, credit) if body else Judgement(_nothing(), "", credit)

    def _score(self, before: str, body: str, closing: str, credit: int) -> Judgement:
        """The judgement of a body; `closing` is ours, so that it parses: no line, mark or statement of it counts."""
        first = before.count("\n") + 1  # the body's first line in the wrapped text
        lines = body.count("\n") + (not body.endswith("\n"))
        tree = _parse(before + body + closing)
        own, docstrings = _docstrings(tree, first, lines) if tree else _opening_docstring(body)
        found = self.violations(before + body + closing)
        if closing:
            found = [mark for mark in found if mark.line < first + lines]
        missing = [mark for mark in found if mark.code == MISSING_DOCSTRING and mark.line == first - 1]
        inside = [mark for mark in found if mark.line >= first and mark.code not in IGNORED]
        # Line 0 is the header, which stands before the judged text.
        marks = [Mark(0, mark.code, mark.message) for mark in missing]
        marks += [Mark(min(mark.line - first + 1, lines), mark.code, mark.message) for mark in inside]
        rule = sum(mark.code == MISSING_DOCSTRING for mark in marks)
        syntax = sum(mark.code.startswith(SYNTAX_CODES) for mark in marks)
        outside = sum(m.code != MISSING_DOCSTRING and m.line not in docstrings for m in marks)
        elsewhere = sum(m.line not in docstrings for m in marks)
        statements = _statements(tree) if tree else 0
        clean = max(0.0, 1 - self.options.cost * len(marks) / lines)
        measures = {
            "violations_per_line": (len(marks), lines),
            "style_per_line": (len(marks) - syntax, lines),
            "violations_outside_docstrings": (outside, lines - len(docstrings)),
            "violations_outside_docstring_lines": (elsewhere, lines - len(docstrings)),
            "pep8_alone_per_line": (len(marks) - rule, lines),
            "parse_rate": (float(tree is not None), 1),
            "docstring_rate": (float(own and not missing), 1),
            "reward": ((tree is not None) * clean * min(1.0, statements / self.options.statements), 1),
            "length": (lines, 1),
            "characters": (len(body), 1),
            "statements": (statements, 1),
        }
        return Judgement(measures, body, credit, tuple(marks))


def _nothing() -> dict[str, tuple[float, float]]:
    """The measures of a completion with no line to judge: no reward, and no lines to divide by."""
    return {name: (0.0, 0.0 if name.endswith(("_line", "_lines", "_docstrings")) else 1.0) for name in MEASURES}


def _wrapper(space: str) -> str:
    """`class C:` for each level of an indent, so that what follows parses in its place."""
    step = 1 if "\t" in space else 4
    return "".join(f"{space[:i]}class C:\n" for i in range(0, len(space), step))


def _depth(line: str) -> int:
    line = line.expandtabs(8)
    return len(line) - len(line.lstrip())


def _body(text: str, header: str) -> tuple[str, int]:
    """The text up to the first line indented no deeper than the header, and how many characters that is."""
    least, end = _depth(header), 0
    for line in text.split("\n"):
        if line.strip() and _depth(line) <= least:
            return text[:end], end
        end += len(line) + 1
    return text, len(text)


def _complete(before: str, body: str) -> tuple[str, str]:
    """The body up to its last complete logical line, and what closes a `try:` that is left open there.

    `if x:` and a decorator wait for what they belong to, and go with it.
    """
    rows: list[tuple[int, bool, str, str]] = []  # of each logical line: last row, whether it waits, indent, first word
    first = last = indent = ""
    try:
        for token in tokenize.generate_tokens(io.StringIO(before + body).readline):
            if token.type == tokenize.NEWLINE and token.string:
                rows.append((token.start[0], last == ":" or first == "@", indent, first))
            if token.type == tokenize.NEWLINE:
                first = last = ""
            elif token.type not in _SILENT:
                if not first:
                    first, indent = token.string, token.line[: token.start[1]]
                last = token.string
    except tokenize.TokenError as error:
        # Only a statement or string that the end cut off is left out; any other fault stays, and counts.
        if not re.search("EOF|triple-quoted", str(error)):
            return body[: body.rfind("\n") + 1], ""
    except _NOT_PYTHON:
        return body[: body.rfind("\n") + 1], ""
    while rows and rows[-1][1]:
        rows.pop()
    kept = (rows[-1][0] if rows else 0) - before.count("\n")
    if kept <= 0:
        return "", ""
    return "".join(line + "\n" for line in body.split("\n")[:kept]), _closing([row[2:] for row in rows])


def _closing(lines: Sequence[tuple[str, str]]) -> str:
    """`finally: pass` for each `try` that the end of logical lines (indent, first word) leaves open, inner ones first.

    One that was left behind without `except` before the end is a fault, and stays one.
    """
    opened: list[str] = []
    for indent, word in lines:
        while opened and len(opened[-1]) >= len(indent):
            opened.pop()
        if word == "try":
            opened.append(indent)
    return "".join(f"{indent}finally:\n{indent}    pass\n" for indent in reversed(opened))


def _without_blank_end(body: str) -> str:
    """The body without blank lines at its end, which belong to what follows and would thin out violations."""
    end = len(body.rstrip())
    newline = body.find("\n", end)
    return "" if not end else body if newline < 0 else body[: newline + 1]


def _parse(text: str) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a stray backslash in generated text is nobody's mistake
        try:
            return ast.parse(text)
        except _NOT_PYTHON:
            return None


def _docstrings(tree: ast.Module, first: int, lines: int) -> tuple[bool, set[int]]:
    """Whether the judged function has a docstring, and the lines of the body that are docstrings (its and others')."""
    own, found = False, set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        head = node.body[0]
        if isinstance(head, ast.Expr) and isinstance(head.value, ast.Constant) and isinstance(head.value.value, str):
            own = own or node.lineno == first - 1
            found |= {line - first + 1 for line in range(head.lineno, (head.end_lineno or head.lineno) + 1)}
    return own, {line for line in found if 1 <= line <= lines}


def _opening_docstring(body: str) -> tuple[bool, set[int]]:
    """The same for a body that does not parse: a closed string at its start."""
    found = _DOCSTRING.match(body)
    if found is None:
        return False, set()
    first = body.count("\n", 0, found.start(1)) + 1
    return True, set(range(first, first + found[0].count("\n", found.start(1)) + 1))


def _statements(tree: ast.Module) -> int:
    """How many different real statements: a constant standing alone (a docstring, `...`) or `pass` is none."""
    found = set()
    try:
        for node in ast.walk(_function(tree)):
            constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if isinstance(node, ast.stmt) and not isinstance(node, ast.Pass) and not constant:
                found.add(ast.dump(node))
    except RecursionError:
        return 0
    return len(found) - 1  # the function itself


def _function(tree: ast.Module) -> ast.AST:
    """The function that the classes around it lead to."""
    node: Any = tree.body[0]
    while isinstance(node, ast.ClassDef):
        node = node.body[0]
    return node
