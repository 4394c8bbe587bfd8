"""`penchant`: lists commands/*.py, imports only the one asked for, and turns failures into one line."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from penchant import console, registry
from penchant.errors import PenchantError, StageFailed

__all__ = ["app", "main"]

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class _Commands(TyperGroup):
    """The modules of `penchant/commands`, each loaded when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return registry.names("commands")

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in registry.names("commands"):
            return None
        module = registry.load("commands", cmd_name)
        if isinstance(module.command, typer.Typer):  # a command of commands
            return typer.main.get_command(module.command)
        one = typer.Typer(add_completion=False, rich_markup_mode=None)
        one.command(name=cmd_name, context_settings=_SETTINGS)(module.command)
        return typer.main.get_command(one)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, registry.describe("commands", name)) for name in self.list_commands(ctx)])


app = typer.Typer(
    cls=_Commands,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=_SETTINGS,
)


def _version(asked: bool) -> None:
    if asked:
        from penchant import __version__

        console.data(f"penchant {__version__}")
        raise typer.Exit


@app.callback(epilog="Begin with: penchant run quickstart. Options of a recipe are given as key.sub=value.")
def _root(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """The preference laboratory: prepare, pretrain, tune and judge language models with human preferences."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code."""
    console.setup()
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = typer.main.get_command(app)(
            args=None if arguments is None else list(arguments), prog_name="penchant", standalone_mode=False
        )
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, EOFError):
        return 130
    except BaseException as error:
        if isinstance(error, SystemExit):
            raise
        if os.environ.get("PENCHANT_DEBUG") and not _usage(error):
            raise
        return _failure(error)


def _failure(error: BaseException) -> int:
    """Print the one line of a failure; its exit code."""
    if isinstance(error, StageFailed):
        return error.exit_code  # its line has been printed
    if isinstance(error, PenchantError):
        console.error(str(error))
        return error.exit_code
    if _usage(error):
        context: Any = getattr(error, "ctx", None)
        line = " ".join(error.format_message().split())  # type: ignore[attr-defined]
        path = getattr(context, "command_path", "penchant")
        if type(error).__name__ == "NoArgsIsHelpError":
            console.data(context.get_help())
        else:
            console.error(f"{line.rstrip('.')}; see {path} --help")
        return int(error.exit_code)  # type: ignore[attr-defined]
    if type(error).__name__ == "Abort":
        return 130
    if isinstance(error, MemoryError):
        console.error("out of memory; close other programs or take a smaller model")
    elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        console.error(
            f"{error.filename or 'a write'}: the disk is full; free some space and run the same command again"
        )
    else:
        console.error(f"{type(error).__name__}: {error}; PENCHANT_DEBUG=1 shows where")
    return 1


def _usage(error: BaseException) -> bool:
    return hasattr(error, "format_message") and hasattr(error, "exit_code")
