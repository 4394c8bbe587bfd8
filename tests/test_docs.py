"""The documents cannot lie: what they show is run, and what they name exists."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from penchant import registry
from penchant.registry import describe

REPOSITORY = Path(__file__).parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")])
# What stands in the README is the quickstart's; the same lines hold for its toy-sized twin, and in seconds.
TOY = {
    '"quickstart"': '"smoke"',
    "steps=20": "steps=2, batch_size=4, num_generations=2, max_completion_length=8",
}


def blocks(language: str) -> list[str]:
    """The code blocks of the README in a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    """Every `penchant ...` line of the README, comments left out."""
    lines = [line.partition("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("penchant ")]


def test_the_python_of_the_readme_runs(tmp_path):
    """The ten lines of Python, on the toy recipe."""
    code = blocks("python")[0]
    for shown, toy in TOY.items():
        assert shown in code
        code = code.replace(shown, toy)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "'value'" in done.stdout


def test_the_signal_of_the_readme_works(tmp_path):
    """The example of a signal of one's own is a plug-in."""
    from penchant.contracts import Context
    from penchant.records import Segment

    path = tmp_path / "my_signal.py"
    path.write_text(blocks("python")[1], encoding="utf-8")
    module = registry.load("signals", str(path))
    assert module.build(module.Options(most=5), Context())([Segment("short", 0), Segment("too long", 5)]) == [1.0, 0.0]


@pytest.mark.parametrize("line", commands())
def test_commands_of_the_readme_exist(line, capsys):
    """Each command is there, takes the options it is shown with, and its recipes and stage options exist."""
    from typer.main import get_command

    from penchant.cli import app

    words = shlex.split(line)[1:]
    assert words[0] in registry.names("commands")
    command = get_command(app).get_command(None, words[0])  # type: ignore[union-attr]
    if hasattr(command, "commands"):  # a command of commands
        command = command.commands[words[1]]
    known = {option for p in command.params for option in p.opts}
    assert {word for word in words if word.startswith("-")} <= known
    if words[0] == "run":
        from penchant.runs.recipe import load_recipe

        assert describe("recipes", words[1])
        load_recipe(words[1], [w for w in words[2:] if not w.startswith("-")], environment={})


def test_algorithms_page():
    """docs/algorithms.md is what the modules say; every algorithm has its place, and a curve or another measure."""
    spec = importlib.util.spec_from_file_location("make_algorithms", REPOSITORY / "docs/make_algorithms.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (REPOSITORY / "docs/algorithms.md").read_text(encoding="utf-8")
    assert text == module.page()
    assert all(f"### {name}\n" in text for name in registry.names("algorithms"))


def test_help_page():
    """docs/help.md is what `--help` says; `make docs` writes it again."""
    spec = importlib.util.spec_from_file_location("make_help", REPOSITORY / "docs/make_help.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (REPOSITORY / "docs/help.md").read_text(encoding="utf-8") == module.text()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    """Links inside the repository lead to files that are there."""
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)\)", text) if "://" not in link]
    missing = [link for link in links if not (page.parent / link).exists() and link != "docs/report.png"]
    assert missing == []


def test_make_targets_exist():
    """What the documents tell to `make` is in the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE))
    shown = {name for page in PAGES for name in re.findall(r"^make ([a-z]+)\b", _code(page), flags=re.M)}
    assert shown <= targets, shown - targets


def _code(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    return "\n".join(re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL) + re.findall(r"`([^`\n]+)`", text))


def test_ci_runs_the_test_command_of_the_readme():
    """`.ci/run` calls `make test` and nothing else."""
    lines = (REPOSITORY / ".ci/run").read_text().splitlines()
    assert [line for line in lines if not line.startswith(("#", "set ", "cd "))] == ["make test"]


def test_constraints_pin_what_the_project_needs():
    """Every requirement of pyproject.toml has its known-good version, torch without a local suffix."""
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["dev"], *extras["text"], *extras["tensorboard"]]
    names = {re.split(r"[\[<>=!~ ]", need)[0].lower().replace("_", "-") for need in needed} - {"penchant"}
    pinned = dict(
        line.lower().replace("_", "-").split("==") for line in _lines(REPOSITORY / "constraints.txt") if "==" in line
    )
    assert names <= set(pinned), names - set(pinned)
    assert pinned["torch"] == "2.13.0"


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text().splitlines() if not line.startswith("#")]
