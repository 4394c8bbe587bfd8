"""What can be told of a stage's inputs before they are there: from the recipe's stages, or from folders."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penchant.contracts import Context, Feed
from penchant.data.examples import is_examples
from penchant.data.summary import QUANTILES
from penchant.errors import OptionError, PenchantError
from penchant.files import read_json
from penchant.models.config import DecoderConfig
from penchant.plugins import build_context, checked, plug
from penchant.text.conditioning import Conditioning
from penchant.text.tokenizer import Tokenizer

__all__ = [
    *("acts", "text_environment"),
    *(
        "context_of",
        "controls_of",
        "measures_of",
        "objective_entry",
        "objective_of",
        "objective_options",
        "plugin_problem",
        "scores_of",
    ),
    *("scores_of", "segment_of", "signal_entry", "signal_problem"),
]

Source = Feed | Path | None


def plugin_problem(kind: str, entry: Mapping[str, Any]) -> str | None:
    """What is wrong with a recipe's entry `{name, ...options}`, or with the signal that it judges by; else None."""
    if not isinstance(entry.get("name"), str):
        return f"it needs a name: {{name: ..., ...}}; see `penchant list {kind}`"
    try:
        _, options = checked(kind, entry)
    except PenchantError as error:
        return str(error)
    except Exception as error:  # a file of the user's own can fail in any way
        return f"{entry['name']} cannot be loaded: {type(error).__name__}: {error}"
    signal = getattr(options, "signal", None) if kind in ("tasks", "rewards") else None
    if isinstance(signal, str):
        signal = {**getattr(options, "options", {}), "name": signal}
    return plugin_problem("signals", signal) if isinstance(signal, dict) else None


def measures_of(task: Mapping[str, Any]) -> list[str] | None:
    """Names of what a task measures; None where it needs more than there is yet."""
    try:
        built = build_context(0, None, task).task
    except Exception:
        return None
    return None if built is None else list(built.measures)


def signal_problem(data: Source, signal: Any, threshold: Any) -> tuple[str, str] | None:
    """(key, mend) where the data will have no such scores, or the threshold is no number and no quantile; else None.
    Either may be a list of them.
    """
    known = scores_of(data)
    if known is not None and any(one not in known for one in (signal if isinstance(signal, list) else [signal])):
        return "signal", f"the data have the signals {', '.join(known) or 'none'}; see data.signals"
    if isinstance(threshold, list):
        return next(filter(None, (signal_problem(None, None, one) for one in threshold)), None)
    if isinstance(threshold, str) and threshold != "median":
        number = _number(threshold.removeprefix("q"))
        if number not in QUANTILES if threshold.startswith("q") else number is None:
            return "threshold", f"give a number, median, or one of {', '.join(f'q{q:g}' for q in QUANTILES)}"
    return None


def _number(text: str) -> float | None:
    try:
        return float(text) if math.isfinite(float(text)) else None
    except ValueError:
        return None


def signal_entry(spec: str | Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """(name of the scores, name of the plug-in, its options) of an entry of `data.signals`.

    Raises:
        OptionError: it has no name.
    """
    options = {"name": spec} if isinstance(spec, str) else dict(spec)
    if not isinstance(name := options.pop("name", None), str):
        raise OptionError("a signal has no name", "write data.signals: [style] or [{name: style, ...}]")
    return str(options.pop("as", Path(name).stem if name.endswith(".py") else name)), name, options


def acts(environment: Any) -> bool:
    """Whether an option `environment` names one of Gymnasium's, without model and data."""
    return isinstance(environment, str) and environment.startswith("gymnasium:")


def text_environment(environment: Any) -> dict[str, Any]:
    """The plug-in's entry `{name, ...options}` of an option `environment`."""
    return {"name": environment} if isinstance(environment, str) else dict(environment)


def rows_of(data: Source) -> bool:
    """Whether data are rows of prompts and answers, not documents."""
    if isinstance(data, Feed):
        return data.kind == "examples"
    return data is not None and (data / "summary.json").is_file() and is_examples(read_json(data / "summary.json"))


def scores_of(data: Source) -> list[str] | None:
    """Names of the scores that prepared data have; None where it cannot be told."""
    if isinstance(data, Feed) and data.kind == "prepare":
        return [signal_entry(spec)[0] for spec in data.options.signals]
    if isinstance(data, Path) and (data / "summary.json").is_file():
        return list(read_json(data / "summary.json").get("signals", {}))
    return None


def segment_of(source: Source) -> str | None:
    """By what data are cut, or a model's were."""
    if isinstance(source, Feed):
        if source.kind == "prepare":
            return str(source.options.segment)
        return segment_of(source.inputs.get("model" if source.kind == "tune" else "data"))
    if source is not None and (source / "summary.json").is_file():
        return str(read_json(source / "summary.json").get("segment", "line"))
    layout = None if source is None else _layout(source)
    return None if layout is None else layout.segment


def controls_of(model: Source) -> tuple[str, ...] | None:
    """Names of the control tokens that a model will know; None where it cannot be told."""
    if isinstance(model, Path):
        layout = _layout(model)
        return None if layout is None else layout.control
    if model is None or model.kind == "tune":
        return None if model is None else controls_of(model.inputs.get("model"))
    objective = objective_of(model.options) if model.kind == "pretrain" else None
    return None if objective is None else tuple(getattr(objective, "control", ()))


def objective_of(options: Any) -> Any:
    """The objective of a pretraining's options, built without data; None where one of the user's own needs more."""
    try:
        module, _ = checked("objectives", entry := objective_entry(options))
        known = getattr(getattr(module, "Options", None), "model_fields", {})
        one = "threshold" in known and not isinstance(entry.get("threshold"), list)
        return plug("objectives", {**entry, **({"threshold": 0.0} if one else {})}, Context())
    except Exception:
        return None


def objective_entry(options: Any) -> dict[str, Any]:
    """The recipe's entry for the objective, as `{name, ...options}`."""
    return dict(options.objective) if isinstance(options.objective, dict) else {"name": options.objective}


def objective_options(options: Any) -> tuple[str, ...]:
    """Names of the options that a pretraining's objective takes; none where it cannot be loaded."""
    try:
        module, _ = checked("objectives", objective_entry(options))
    except Exception:
        return ()
    return tuple(getattr(getattr(module, "Options", None), "model_fields", {}))


def context_of(model: Source) -> int | None:
    """Positions that a model has; None where it cannot be told."""
    if isinstance(model, Path):
        folder = _model_folder(model)
        return DecoderConfig.from_folder(folder).max_position_embeddings if folder else None
    if model is None or model.kind == "tune":
        return None if model is None else context_of(model.inputs.get("model"))
    return int(model.options.model.max_position_embeddings) if model.kind == "pretrain" else None


def _layout(folder: Path) -> Conditioning | None:
    found = _model_folder(folder)
    return Conditioning.load(found, Tokenizer.load(found)) if found else None


def _model_folder(folder: Path) -> Path | None:
    return next((place for place in (folder / "model", folder) if (place / "config.json").is_file()), None)
