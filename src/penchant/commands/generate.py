"""Continue prompts with a model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from penchant import console
from penchant.commands._shared import AsJson
from penchant.errors import InputError


def command(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL_OR_RUN", help="A model's folder, or a run's (its last model).")
    ],
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", "-p", help="A prompt; may be given again.", show_default=False)
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", "-f", metavar="FILE", help="Prompts of a file, one a line; - is stdin.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The most tokens to add.")] = 64,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 always takes the likeliest token.")] = 1.0,
    top_p: Annotated[float, typer.Option(min=0.0, max=1.0, help="Sample from this much of the probability.")] = 1.0,
    top_k: Annotated[int, typer.Option(min=0, help="Sample from this many tokens; 0 for all.")] = 0,
    min_p: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Leave out tokens less likely than this share of the likeliest.")
    ] = 0.0,
    repetition_penalty: Annotated[float, typer.Option(min=0.0, help="Above 1: seen tokens become less likely.")] = 1.0,
    stop: Annotated[
        list[str] | None, typer.Option("--stop", help="End before this string; may be given again.", show_default=False)
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Completions a prompt.")] = 1,
    ask: Annotated[
        str | None, typer.Option(metavar="good|bad", help="What to ask a conditional model for.", show_default=False)
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option(
            "--profile", metavar="KEY=VALUE", help="Who is to be writing; may be given again.", show_default=False
        ),
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(help="How strongly the profile shows: 1 as trained, above 1 more so.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same text.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Continue prompts with a model.

    Prompts come from --prompt, --file or, where stdin is no terminal, from stdin (the whole of it is one prompt).

    \b
    Examples:
      penchant generate runs/quickstart --prompt "def add(a, b):" --ask good
      penchant generate runs/quickstart/models/mle -p "import os" -n 3 --temperature 0.7 --json
      penchant generate runs/reviews -p "I bought this" --profile age=60+ --profile gender=female --guidance 2
      cat start.py | penchant generate runs/quickstart
    """
    prompts = _prompts(prompt, file)
    from penchant import api
    from penchant.runs.layout import published

    folder = published(model)
    if folder != model:
        console.note(f"model: {folder}")
    texts = api.load(folder).generate(
        *(prompts,),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        n=n,
        ask=ask,
        profile=profile or (),
        guidance=guidance,
        seed=seed,
        stop=stop or (),
        min_p=min_p,
        repetition_penalty=repetition_penalty,
    )
    rows = [{"prompt": prompts[i // n], "text": text} for i, text in enumerate(texts)]
    if as_json:
        console.data(rows)
        return
    for index, row in enumerate(rows):
        if index:
            console.data("-" * 40)
        console.data(row["prompt"] + row["text"])


def _prompts(prompt: list[str] | None, file: str | None) -> list[str]:
    found = list(prompt or ())
    if file is not None and file != "-":
        try:
            found += Path(file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise InputError(f"cannot be read ({reason})", "give a text file, one prompt a line", file=file) from None
    elif file == "-":
        found += sys.stdin.read().splitlines()
    elif not found and not sys.stdin.isatty():
        found = [sys.stdin.read()]
    if not any(found):
        raise InputError("no prompt", 'give --prompt "TEXT", --file FILE, or pipe one in')
    return found
