"""The floors of the house: import contracts, names that stand in one room only, and sizes."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import penchant

ROOT = Path(penchant.__file__).parent
REPOSITORY = ROOT.parent.parent
MODULES = sorted(ROOT.rglob("*.py"))
# Devices and processes are the business of `runtime/`: named elsewhere, they would creep into every room.
PLACES = {"cuda", "mps", "autocast", "ray", "distributed"}
WORDS = {"cuda", "mps", "RANK", "LOCAL_RANK", "WORLD_SIZE", "torch.distributed"}


def test_import_contracts():
    """`.importlinter` holds: who may use whom. In a process of its own, since it sets up logging anew."""
    code = (
        "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(config_filename='.importlinter'))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_folder_has_a_floor():
    """A new folder or module must be given its floor, so that no room is outside the contract."""
    text = (REPOSITORY / ".importlinter").read_text()
    layers = text.partition("layers =")[2].partition("[importlinter:contract")[0].replace("|", " ").split()
    rooms = {p.stem for p in ROOT.glob("*.py")} | {p.parent.name for p in ROOT.glob("*/__init__.py")}
    assert rooms - {"__init__"} == set(layers)


def test_devices_and_processes_are_named_in_runtime_only():
    """`torch.distributed`, `ray`, `cuda`, `mps`, `autocast`, `RANK` stand in `runtime/` alone."""
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in MODULES
        if path.relative_to(ROOT).parts[0] != "runtime"
        for line, name in _named(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


def _named(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in PLACES:
            yield node.lineno, node.attr
        elif isinstance(node, ast.Name) and node.id in PLACES:
            yield node.lineno, node.id
        elif isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            yield from ((node.lineno, m) for m in modules if PLACES & set(m.split(".")))
        elif isinstance(node, ast.Constant) and (node.value in WORDS or str(node.value).startswith("cuda:")):
            yield node.lineno, str(node.value)


def test_the_search_for_names_finds_them():
    """The test above is no good if it sees nothing."""
    source = 'import ray\nfrom torch import distributed\ntorch.cuda.is_available()\nos.environ["RANK"]\nx.to("cuda:0")'
    assert [line for line, _ in sorted(_named(ast.parse(source)))] == [1, 2, 3, 4, 5]


def test_no_room_and_no_function_is_too_large():
    """At most 350 lines a module, 60 lines of code a function (its docstring not counted)."""
    large = [str(p) for p in MODULES if len(p.read_text(encoding="utf-8").splitlines()) > 350]
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and _length(node) > 60
    ]
    assert (large, long) == ([], [])


def _length(node: ast.FunctionDef) -> int:
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_no_pickle_and_no_eval():
    """Nothing reads or writes pickle, and no text becomes code."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if _dangerous(node)
    ]
    assert found == []


def _dangerous(node: ast.AST) -> bool:
    banned = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    if isinstance(node, ast.Import):
        return any(alias.name.split(".")[0] in banned for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] in banned
    calls = ("eval", "exec", "torch.load", "torch.save", "yaml.load")
    return isinstance(node, ast.Call) and ast.unparse(node.func) in calls
