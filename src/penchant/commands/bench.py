"""Time fixed work, or measure the machine's limits for a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from penchant import console
from penchant.commands._shared import AsJson


def command(
    work: Annotated[
        Literal["generate", "grpo", "dpo", "sft", "limits"],
        typer.Argument(metavar="generate|grpo|dpo|sft|limits", help="What to time.", show_default=False),
    ],
    model: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="A model's folder with bench_lines.txt.")],
    dtype: Annotated[
        Literal["auto", "bfloat16", "float32"], typer.Option(help="Number format of the weights.")
    ] = "auto",
    steps: Annotated[int, typer.Option(min=2, help="Steps; the first warms up and is dropped.")] = 4,
    micro_batch_size: Annotated[
        int | None, typer.Option(min=1, help="Rows of one forward; else a run's choice.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    rows: Annotated[int, typer.Option(min=1, help="Rows a step, of sft.")] = 64,
    length: Annotated[int, typer.Option(min=2, help="Tokens a row, of sft.")] = 256,
    reuse_activations: Annotated[
        bool | None, typer.Option(help="grpo's update goes on from what sampling computed; by default where it pays.")
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0 for all cores.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Time fixed work through the parts that real runs use, or measure the machine's own limits for a model.

    generate: 64 prompts, 64 new tokens each. grpo: 8 prompts x 8 samples x 64 tokens and an update. dpo: 32 pairs of
    90 words each after 90. sft: 64 rows of 256 tokens and an update, or as --rows and --length say. limits: matrix
    products at the model's shapes, and memory bandwidth. Nothing else should run meanwhile.

    \b
    Examples:
      penchant bench sft models/m30 --dtype bfloat16 --steps 5
      penchant bench sft models/m30 --rows 16 --length 1024
      penchant bench generate models/m30 --device cuda --json
      penchant bench grpo models/m30 --no-reuse-activations
      penchant bench limits models/m30
    """
    import torch

    from penchant.bench import limits, works
    from penchant.machine import cores
    from penchant.models.config import DecoderConfig
    from penchant.runtime.device import device_name
    from penchant.runtime.memory import keep_pages
    from penchant.runtime.precision import resolve_dtype

    keep_pages()
    count = threads or cores()
    torch.set_num_threads(count)
    if work == "limits":
        found = limits.limits(DecoderConfig.from_folder(model), device_name(device) if device != "auto" else "cpu")
    else:
        where = device_name(device)
        bench = works.Bench.of(model, resolve_dtype(dtype, where), steps, micro_batch_size, count, where, rows, length)
        bench.replay = reuse_activations
        kind = str(bench.model.dtype).removeprefix("torch.")
        found = {"work": work, "peer": "penchant", "model": model.resolve().name, "dtype": kind}
        found |= works.run(work, bench)
    if as_json:
        console.data(json.dumps(found))  # one line: others read the last one
        return
    console.table([(key, str(value)) for key, value in found.items()], ("what", "found"))
