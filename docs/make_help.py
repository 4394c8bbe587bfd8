"""Write docs/help.md: what `penchant --help` and each command's `--help` say (`make docs`; a test holds it)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import typer

from penchant import registry

PAGE = Path(__file__).parent / "help.md"


def _commands() -> list[list[str]]:
    """The words of every command, and of those within a command of commands."""
    found = []
    for name in registry.names("commands"):
        found.append([name])
        command = registry.load("commands", name).command
        if isinstance(command, typer.Typer):
            found += [[name, str(one.name or one.callback.__name__)] for one in command.registered_commands]
    return found


def text() -> str:
    """The page, as it should be."""
    parts = ["# What the commands say of themselves\n\nMade by `make docs` from `--help`; do not edit.\n"]
    for words in [[], *_commands()]:
        title = " ".join(["penchant", *words, "--help"])
        environment = {**os.environ, "COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"}
        said = subprocess.run(
            [sys.executable, "-m", "penchant", *words, "--help"],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        ).stdout
        lines = "\n".join(line.rstrip() for line in said.strip().splitlines())
        parts.append(f"## `{title}`\n\n```text\n{lines}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
