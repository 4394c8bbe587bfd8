"""What is loaded when: `import penchant` costs nothing, `--help` next to nothing, text and reports no tensors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import penchant

ROOT = Path(penchant.__file__).parent
HELP = {"penchant", "typer", "click", "annotated_doc", "shellingham", "typing_extensions", "rich", "colorama"}
NO_TENSORS = ("data", "text", "metrics", "reports", "signals", "tasks", "recipes")
SLOW = {"torch", "transformers", "tokenizers", "pyarrow", "matplotlib", "jinja2", "numpy"}
ASK = """
import atexit, json, sys
before = {name.split('.')[0] for name in sys.modules}
def tell():
    loaded = {name.split('.')[0] for name in sys.modules} - before
    print('LOADED', json.dumps(sorted(n for n in loaded if n not in sys.stdlib_module_names and n[0] != '_')))
atexit.register(tell)
"""


def loaded(code: str, *arguments: str) -> set[str]:
    """The third-party packages that a piece of code loads in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", ASK + code, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("LOADED")]
    assert lines, done.stderr
    return set(json.loads(lines[-1].removeprefix("LOADED")))


def test_import_loads_nothing():
    """`import penchant` loads no other package."""
    assert loaded("import penchant") == {"penchant"}


@pytest.mark.parametrize("words", [["--help"], ["--version"]])
def test_help_loads_an_allow_list(words):
    """`penchant --help` loads the command line's library alone."""
    found = loaded("from penchant.cli import main\nmain(sys.argv[1:])", *words)
    assert found <= HELP, sorted(found - HELP)


@pytest.mark.parametrize("command", ["run", "prepare", "generate", "list"])
def test_help_of_a_command_loads_no_tensors(command):
    """A command's help may load the checker of its options, and nothing that is slow."""
    assert not loaded("from penchant.cli import main\nmain(sys.argv[1:])", command, "--help") & SLOW


def test_text_rows_and_reports_load_without_torch():
    """Ground, data, text, metrics and reports know nothing of tensors, also when every module is loaded."""
    modules = [f"penchant.{p.stem}" for p in (ROOT / "contracts.py", ROOT / "options.py", ROOT / "console.py")]
    for room in NO_TENSORS:
        modules += [f"penchant.{room}.{p.stem}" for p in sorted((ROOT / room).glob("*.py")) if p.stem != "__init__"]
    found = loaded(f"import importlib\nfor name in {modules!r}: importlib.import_module(name)")
    assert not found & {"torch", "transformers", "tensorflow", "jax", "pandas"}


def test_the_ground_uses_the_standard_library_alone():
    """Errors, records, contracts, registry, files, console: nothing of others but NumPy (records hold arrays)."""
    names = ["errors", "records", "contracts", "registry", "files", "console"]
    found = loaded(f"import importlib\nfor name in {names!r}: importlib.import_module('penchant.' + name)")
    assert found <= {"penchant", "numpy"}
