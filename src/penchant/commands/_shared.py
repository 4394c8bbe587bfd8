"""What the commands that run stages have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penchant import console

if TYPE_CHECKING:
    from penchant.runs.layout import RunFolder
    from penchant.runs.recipe import Recipe

__all__ = [
    *("Again", "AsJson", "Config", "DryRun", "Words", "complete_recipe", "flat", "go", "go_stage", "show_preflight"),
    "split_words",
    "stage_command",
]


def complete_recipe(incomplete: str) -> list[str]:
    """Recipe names for the shell's completion."""
    from penchant import registry

    return [name for name in registry.names("recipes") if name.startswith(incomplete)]


Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[RECIPE] [key.sub=value]...", help="Options; run_dir=DIR says where.", show_default=False),
]
Again = Annotated[
    list[str] | None,
    typer.Option(
        "--from", metavar="STAGE", help="Do this stage again, and all that depends on it.", show_default=False
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show stages, sizes and times expected; run nothing.")]
Config = Annotated[bool, typer.Option("--print-config", help="Show every option, its value and origin; run nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON on stdout.")]


def split_words(words: Sequence[str] | None) -> tuple[str | None, list[str]]:
    """The recipe (if the first word is no key=value) and the options."""
    words = list(words or ())
    if words and "=" not in words[0]:
        return words[0], words[1:]
    return None, words


def go(
    recipe: Recipe,
    command: Sequence[str],
    *,
    redo: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
    dry_run: bool = False,
    print_config: bool = False,
    as_json: bool = False,
) -> RunFolder | None:
    """Show the options or the plan of a recipe, or run it."""
    if print_config:
        _show_config(recipe, as_json)
        return None
    if dry_run:
        _show_plan(recipe, only, redo or (), as_json)
        return None
    from penchant.runs.executor import execute
    from penchant.runtime.launch import follower

    if follower():  # torchrun's first process drives the run and starts all the processes of a stage itself
        return None
    words = [word for word in command if not word.startswith(("run_dir=", "output_dir="))]
    run = execute(recipe, redo=redo or (), only=only, command=words)
    _show_result(run, recipe, as_json)
    return run


def _show_config(recipe: Recipe, as_json: bool) -> None:
    values = flat({"name": recipe.name, "seed": recipe.seed, **{n: _options(s) for n, s in recipe.stages.items()}})
    origins = recipe.origins
    if as_json:
        console.data({key: {"value": value, "origin": origins.get(key, "default")} for key, value in values.items()})
        return
    import json

    rows = [(key, json.dumps(value, ensure_ascii=False), origins.get(key, "default")) for key, value in values.items()]
    console.table(rows, ("option", "value", "origin"))


def _options(stage: Any) -> dict[str, Any]:
    dump = stage.dump()
    return {"kind": dump["kind"], "inputs": dump["inputs"], "threads": dump["threads"], **dump["options"]}


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= flat(inner, f"{prefix}.{key}" if prefix else str(key))
    return found


def _show_plan(recipe: Recipe, only: Sequence[str] | None, redo: Sequence[str], as_json: bool) -> None:
    from penchant.runs.planning import plan
    from penchant.runs.preflight import preflights

    found = plan(recipe, None if only is None else list(only), tuple(redo))
    if as_json:
        console.data({**found, "preflight": preflights(recipe, only)})
        return
    rows = [_plan_row(name, row) for name, row in found["stages"].items()]
    rows.append(_plan_row("total", {"kind": "", "threads": "", "state": "", **found["total"]}))
    columns = ("stage", "kind", "threads", "state", "parameters", "tokens", "memory", "disk", "time")
    console.table(rows, columns, title=f"{recipe.name} in {found['run_dir']}")
    show_preflight(preflights(recipe, only, console.note))


def show_preflight(found: Mapping[str, Mapping[str, Any]]) -> None:
    """What stages would learn from: figures, and texts in which what the loss is on stands in brackets."""
    for name, shown in found.items():
        if "waits_for" in shown:
            console.note(f"{name}: what it learns from can be shown when {', '.join(shown['waits_for'])} is there")
            continue
        rows = [(k, _figure(k, v)) for k, v in shown.items() if isinstance(v, int | float | str)]
        rows += [(f"left out: {cause}", f"{count:,}") for cause, count in shown.get("left_out", {}).items()]
        console.table(rows, (name, "found"))
        for number, example in enumerate(shown.get("examples", ()), 1):
            reward = example.get("reward")
            beside = f" (reward {reward:.3g})" if reward is not None else ""
            asked = "" if "marked" not in example or "rewards" not in example else example["prompt"]
            console.note(f"{name}, row {number}{beside}: {asked}{example['marked']}")


def _figure(name: str, value: Any) -> str:
    if name.endswith("_bytes"):
        return f"{value / 1e6:,.0f} MB"
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value


def _plan_row(name: str, row: dict[str, Any]) -> list[Any]:
    seconds = row.get("seconds")
    return [
        *(name, row["kind"], row["threads"], row["state"]),
        *(f"{row[key]:,}" if row.get(key) else "" for key in ("parameters", "tokens")),
        *(f"{row[key] / 1e6:,.0f} MB" if row.get(key) else "" for key in ("memory", "disk")),
        "" if not seconds else console.clock(seconds),
    ]


def _show_result(run: RunFolder, recipe: Recipe, as_json: bool) -> None:
    if as_json:
        done = {name: run.done(name) for name in recipe.stages}
        stages = {n: {"seconds": d.get("seconds"), "summary": d.get("summary")} for n, d in done.items() if d}
        report = run.path / "report.html"
        console.data(
            {
                "run_dir": str(run.path),
                "stages": stages,
                "models": {name: str(path) for name, path in run.models.items()},
                "report": str(report) if report.exists() else None,
            }
        )
        return
    models = run.models
    for name in recipe.stages:
        if name in models:
            console.note(f"model {name}: {models[name]}")
    report = run.path / "report.html"
    if report.exists():
        console.note(f"report: {report}")
    console.data(str(run.path))


def go_stage(kind: str, words: Sequence[str] | None, **flags: Any) -> RunFolder | None:
    """A command of one stage: of a recipe up to the stages of this kind, or alone; the run, where there is one."""
    from penchant import api
    from penchant.errors import InputError

    name, settings = split_words(words)
    if name is None:
        return go(api.single(kind, settings), [kind, *settings], **flags)
    recipe = api.resolved(name, settings)
    only = [stage.name for stage in recipe.stages.values() if stage.kind == kind]
    if not only:
        raise InputError(f"recipe {name!r} has no stage of kind {kind}", "see --print-config")
    return go(recipe, [kind, name, *settings], only=only, **flags)


def stage_command(kind: str, text: str | None, show: Callable[[RunFolder], None] | None = None) -> Callable[..., None]:
    """The command of one stage that has no flags of its own; `text` is its help, `show` prints what came of it."""

    def command(
        words: Words = None,
        again: Again = None,
        dry_run: DryRun = False,
        print_config: Config = False,
        as_json: AsJson = False,
    ) -> None:
        run = go_stage(kind, words, redo=again, dry_run=dry_run, print_config=print_config, as_json=as_json)
        if run is not None and show is not None and not as_json:
            show(run)

    command.__doc__ = text
    return command
