"""Say what this machine can do; with a recipe, what its stages would learn from."""

from __future__ import annotations

import shutil
import sys
from typing import Any

from penchant import console
from penchant.commands._shared import AsJson, Words

_EXTRAS = {
    "text": ("ftfy", "py3langid", "vaderSentiment", "warcio"),
    "hf": ("datasets",),
    "tensorboard": ("tensorboard",),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
    "trackio": ("trackio",),
}


def command(words: Words = None, as_json: AsJson = False) -> None:
    """Say what this machine can do: cores, memory, versions, extras, bf16 or not and why.

    With a RECIPE, or with the options of `penchant tune`, say instead what its training stages would learn from,
    before anything is trained: decoded rows with what the loss is on in brackets, rows left out, memory at the longest
    row, the reward's mean and spread on a first batch, time a step; and what would stop the run. Stages whose inputs
    are still to be made are named.

    \b
    Examples:
      penchant doctor
      penchant doctor --json
      penchant doctor my_recipe.yaml
      penchant doctor model=DIR data=pairs.jsonl algorithm=dpo
    """
    if words:
        _look(words, as_json)
        return
    found = examine()
    if as_json:
        console.data(found)
        return
    from penchant.commands._shared import flat

    console.table([(key, _shown(key, value)) for key, value in flat(found).items()], ("what", "found"))


def _look(words: list[str], as_json: bool) -> None:
    from penchant import api
    from penchant.commands._shared import show_preflight, split_words
    from penchant.runs.preflight import preflights

    name, settings = split_words(words)
    recipe = api.single("tune", settings) if name is None else api.resolved(name, settings)
    found = preflights(recipe, None, (lambda text: None) if as_json else console.note)
    if as_json:
        console.data(found)
    else:
        show_preflight(found)


def examine() -> dict[str, Any]:
    """Everything that `doctor` shows."""
    import os
    import platform

    from penchant.machine import cores, memory_available, memory_limit
    from penchant.runs.machine import cpu_name, versions
    from penchant.runtime.processor import bf16_units

    return {
        "system": platform.platform(),
        "python": f"{platform.python_version()} ({sys.executable})",
        "cpu": cpu_name(),
        "cores": {"usable": cores(), "machine": os.cpu_count()},
        "memory": {"limit_bytes": memory_limit(), "available_bytes": memory_available()},
        "disk_free_bytes": shutil.disk_usage(".").free,
        "bf16": {"units": bf16_units(), **_measured()},
        "device": _device(),
        "training": _training(),
        "versions": versions(),
        "extras": _extras(),
    }


def _measured() -> dict[str, Any]:
    """What the training floor chooses on this machine, and what a short measurement says of that choice."""
    try:
        from penchant.runtime.precision import bf16_units, measure
    except ImportError as error:
        return {"why": f"not measured: {error}"}
    found, used = measure(), bf16_units()
    why = found.why
    if found.pays != used:
        chosen = "bfloat16" if used else "float32"
        why += f"; dtype=auto goes by the processor's flags all the same, so that a resume never changes it: {chosen}"
    return {"used": used, "gflops_a_thread": {"bf16": round(found.bf16), "fp32": round(found.fp32)}, "why": why}


def _training() -> dict[str, Any]:
    """How a stage with `threads: auto` would be cut here."""
    from penchant.models import gemm, kernels
    from penchant.runs.resolved import automatic_threads
    from penchant.runtime.memory import fit

    threads = automatic_threads()
    rows = fit(None, 0, 1, 1, threads).rows
    found = {"threads": threads, "row_threads": threads, "tokens_of_one_forward": rows, "kernels": kernels.reason()}
    return {**found, "fp32_products": gemm.reason()}


def _device() -> str:
    """What `device=auto` means here."""
    try:
        from penchant.runtime.device import device_name
    except ImportError:
        return "cpu"
    return device_name()


def _extras() -> dict[str, str]:
    from importlib.util import find_spec

    found = {}
    for extra, modules in _EXTRAS.items():
        missing = [name for name in modules if find_spec(name) is None]
        found[extra] = f'missing {", ".join(missing)}: pip install "penchant[{extra}]"' if missing else "usable"
    return found


def _shown(key: str, value: Any) -> str:
    return f"{value / 1e9:,.1f} GB" if key.endswith("_bytes") and value else str(value)
