"""Tune with several algorithms from the same start, and say which to use."""

from __future__ import annotations

from typing import Annotated

import typer

from penchant.commands._shared import Again, AsJson, Config, DryRun, complete_recipe, go

Recipe = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE", help="A recipe's name or file, or a run's folder.", autocompletion=complete_recipe
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="[key.sub=value]...", help="Options over the recipe's.", show_default=False),
]
Algorithms = Annotated[str, typer.Option("--algorithms", metavar="A,B", help="See `penchant list algorithms`.")]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="Runs of each.")]
Tokens = Annotated[
    int | None,
    typer.Option(
        "--tokens", min=1, help="Policy tokens (sampled and trained on) of each run.", show_default="the recipe's"
    ),
]
BestOf = Annotated[int, typer.Option("--best-of", min=2, help="Samples a prompt of the row that tunes nothing.")]

Sft = Annotated[bool, typer.Option("--sft/--no-sft", help="SFT on the data's own answers beside.")]


def command(
    recipe: Recipe,
    settings: Settings = None,
    algorithms: Algorithms = "grpo,rloo",
    seeds: Seeds = 3,
    tokens: Tokens = None,
    best_of: BestOf = 8,
    sft: Sft = True,
    again: Again = None,
    dry_run: DryRun = False,
    print_config: Config = False,
    as_json: AsJson = False,
) -> None:
    """Tune with several algorithms from the same start, and say which to use.

    All get the same budget of policy tokens (sampled and trained on). The start itself, the best of several of its
    samples and SFT on the data's own answers stand beside. Earlier stages are run once; given a finished run, they are
    taken from it. It can be stopped and goes on. The last line says which algorithm to take, or that the difference is
    noise; compare.html shows why.

    \b
    Examples:
      penchant compare quickstart --algorithms grpo,rloo,ppo --seeds 3
      penchant compare runs/quickstart --algorithms grpo,reinforce --seeds 2 --tokens 100000
      penchant compare smoke --algorithms grpo,rloo --dry-run
    """
    from penchant import api
    from penchant.comparing import compared

    names = [name.strip() for name in algorithms.split(",") if name.strip()]
    found = compared(recipe, settings or (), names, seeds, tokens=tokens, best_of=best_of, sft=sft)
    words = ["compare", recipe, *(settings or []), "--algorithms", algorithms, "--seeds", str(seeds)]
    words += [] if tokens is None else ["--tokens", str(tokens)]
    words += [] if best_of == 8 else ["--best-of", str(best_of)]
    words += [] if sft else ["--no-sft"]
    run = go(api.resolved(found), words, redo=again, dry_run=dry_run, print_config=print_config, as_json=as_json)
    if run is not None and not as_json:
        from penchant.commands._compared import show

        show(run)
