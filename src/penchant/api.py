"""The Python face: what `import penchant` hands out, and what the commands call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penchant.options import Given, from_arguments
from penchant.runs.layout import RunFolder

if TYPE_CHECKING:
    from penchant.policy import Policy
    from penchant.runs.recipe import Recipe

__all__ = ["evaluate", "load", "prepare", "pretrain", "resolved", "run", "single", "tune"]

Settings = Sequence[str] | Mapping[str, Any]


def run(
    recipe: str | Path | Mapping[str, Any],
    settings: Settings = (),
    *,
    redo: Sequence[str] = (),
    only: Sequence[str] | None = None,
    **more: Any,
) -> RunFolder:
    """Run a recipe, or what is left of it.

    Args:
        recipe: a name (`"quickstart"`), the path of a YAML file, or a mapping.
        settings: options over the recipe's, as `{"mle.steps": 100}` or `["mle.steps=100"]`.
        redo: stages to do again, with all that depends on them.
        only: the stages to finish, with what they need; None for all.
        more: top-level options: `seed`, `run_dir`, `name`.

    Returns:
        The run's folder: `.path`, `.models`, `.report`.
    """
    from penchant.runs.executor import execute

    return execute(resolved(recipe, settings, **more), redo=redo, only=only)


def resolved(
    recipe: str | Path | Mapping[str, Any], settings: Settings = (), main: str | None = None, **more: Any
) -> Recipe:
    """A recipe with every option checked, not run."""
    from penchant.runs.recipe import load_recipe

    return load_recipe(recipe, [*_givens(settings), *_givens(more)], main=main)


def single(kind: str, settings: Settings = (), **more: Any) -> Recipe:
    """The recipe of one stage, as `penchant prepare`, `pretrain`, `tune` and `evaluate` run it.

    Args:
        settings: options of the stage, and its inputs as folders (`data`, `tokenizer`, `model`).
    """
    from penchant.runs.single import ROLES, single_recipe

    givens = [*_givens(settings), *_givens(more)]
    roles = [g for g in givens if g.name in ROLES[kind] or ("model" in ROLES[kind] and g.key[0] == "model")]
    alone = any(g.key[-1] == "environment" and str(g.value).startswith("gymnasium:") for g in givens)
    mapping = single_recipe(kind, {given.name: _folder(given.raw or given.value) for given in roles}, alone)
    return resolved(mapping, [given for given in givens if given not in roles], main=kind)  # type: ignore[arg-type]


def prepare(path: str | Path | Sequence[str | Path], *, run_dir: str | Path | None = None, **options: Any) -> RunFolder:
    """Read, clean, deduplicate, annotate and split texts; see `penchant prepare --help`."""
    paths = [str(p) for p in path] if isinstance(path, list | tuple) else str(path)
    return _execute("prepare", {"path": paths}, run_dir, options)


def pretrain(
    data: Any, *, tokenizer: Any = None, base: Any = None, run_dir: str | Path | None = None, **options: Any
) -> RunFolder:
    """Train a model on prepared data (a folder, or what `prepare` returned) or on raw files; from scratch, or from an
    existing model (`base`).
    """
    given = {"tokenizer": tokenizer, "base": base}
    inputs = {"data": data} | {role: folder for role, folder in given.items() if folder is not None}
    return _execute("pretrain", inputs, run_dir, options)


def evaluate(model: Any, data: Any, *, run_dir: str | Path | None = None, **options: Any) -> RunFolder:
    """Measure a model, or several as `{name: folder}`, on the test part of prepared data."""
    models = {f"model.{k}": v for k, v in model.items()} if isinstance(model, Mapping) else {"model": model}
    return _execute("evaluate", {"data": data, **models}, run_dir, options)


def load(folder: str | Path) -> Policy:
    """A model's folder as a policy: `.generate`, `.logprobs`, `.score`."""
    from penchant.policy import load as load_policy

    return load_policy(folder)


def tune(
    model: Any, data: Any, rewards: Any = "task", algorithm: str = "grpo", run_dir: Any = "runs/tune", **options: Any
) -> Policy:
    """Tune a model in this process; rewards may be Python functions. See `penchant.tuning.tune`."""
    from penchant.tuning import tune as tune_policy

    folder = data.stage("prepare") if isinstance(data, RunFolder) else data
    return tune_policy(model, folder, rewards, algorithm, run_dir, **options)


def _execute(kind: str, inputs: Mapping[str, Any], run_dir: str | Path | None, options: Mapping[str, Any]) -> RunFolder:
    from penchant.runs.executor import execute

    place = {} if run_dir is None else {"run_dir": str(run_dir)}
    return execute(single(kind, {**inputs, **options, **place}))


def _givens(settings: Settings) -> list[Any]:
    if not isinstance(settings, Mapping):
        return [given for one in settings for given in ([one] if isinstance(one, Given) else from_arguments([one]))]
    return [
        Given(tuple(key.split(".")), str(value) if isinstance(value, Path) else value, "argument")
        for key, value in settings.items()
        if value is not None
    ]


def _folder(value: Any) -> str:
    return str(value.path if isinstance(value, RunFolder) else value)
