"""Options: defaults <- recipe <- environment <- `key.sub=value`, checked against typed `Options`, origins kept.

A value that was given is a `Given`: its key as a path, the value, and where it came from. `resolve` lays the givens
of one stage over the defaults of its `Options` and answers a wrong one with the nearest right one.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import UnionType
from typing import Any, Union, get_args, get_origin

from penchant.errors import OptionError
from penchant.yaml_file import parse_scalar

__all__ = [
    *("ALIASES", "Given", "behind", "from_arguments", "from_environment", "known_keys", "nearest", "resolve"),
    *("shortened", "unknown_key"),
]

# Names of Hugging Face's trainers, and what they are called here; the first that the stage knows is taken.
# An empty tuple: accepted and not needed.
ALIASES: dict[str, tuple[str, ...]] = {
    "adam_beta1": ("adam_beta1", "beta1"),
    "adam_beta2": ("adam_beta2", "beta2"),
    "beta": ("beta", "kl", "kl_coefficient"),
    "block_size": ("block_size", "sequence_length", "length"),
    "bf16": ("bf16",),
    "dataset_name": ("dataset_name", "path"),
    "epsilon": ("epsilon", "clip"),
    "eval_steps": ("eval_steps", "evaluate_every", "eval_every"),
    "logging_steps": ("logging_steps", "log_every"),
    "lr_scheduler_type": ("lr_scheduler_type", "schedule"),
    "learning_rate": ("learning_rate", "optimizer.learning_rate"),
    "max_completion_length": ("max_completion_length", "max_new_tokens"),
    "max_grad_norm": ("max_grad_norm", "clip_norm", "grad_clip", "clip", "optimizer.clip"),
    "max_length": ("max_length", "sequence_length", "length"),
    "max_prompt_length": ("max_prompt_length", "prompt_tokens", "max_prompt_tokens"),
    "max_seq_length": ("max_seq_length", "sequence_length", "length"),
    "max_steps": ("max_steps", "steps"),
    "num_generations": ("num_generations", "samples", "group_size"),
    "num_iterations": ("num_iterations", "epochs"),
    "num_train_epochs": ("num_train_epochs", "epochs"),
    "optim": ("optim", "optimizer"),
    "per_device_eval_batch_size": ("per_device_eval_batch_size", "eval_batch_size"),
    "per_device_train_batch_size": ("per_device_train_batch_size", "batch_size"),
    "report_to": ("report_to", "trackers"),
    "resume_from_checkpoint": (),  # a run that is started again goes on by itself
    "save_steps": ("save_steps", "save_every", "checkpoint_every"),
    "save_total_limit": ("save_total_limit", "keep"),
    "warmup_ratio": ("warmup_ratio", "warmup", "warm_up"),
    "weight_decay": ("weight_decay", "optimizer.weight_decay"),
}
# Variables of ours that are not options.
_NOT_OPTIONS = {"DATA", "DEBUG", "GEMM", "KERNELS", "KILLS", "KILLS_SEED"}


@dataclass(frozen=True)
class Given:
    """One value that someone gave.

    Attributes:
        key: the path of the key, `("prepare", "path")`.
        value: the parsed value.
        origin: "quickstart.yaml:12", "environment PENCHANT_SEED" or "command line".
        file: `FILE:LINE` for a value from a recipe.
        raw: the text it was parsed from, where it was plain text.
    """

    key: tuple[str, ...]
    value: Any
    origin: str
    file: str | None = None
    raw: str | None = None

    @property
    def name(self) -> str:
        return ".".join(self.key)

    def wrong(self, problem: str, mend: str = "") -> OptionError:
        """An error that says where this value stands."""
        place = "" if self.file else f" ({self.origin})"
        return OptionError(problem + place, mend, file=self.file)


def from_arguments(arguments: Iterable[str], origin: str = "command line") -> list[Given]:
    """`["mle.steps=10", "seed=3"]` as givens."""
    found = []
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals or not key.strip():
            raise OptionError(f"{argument!r} is not key=value ({origin})", "write options as key.sub=value")
        found.append(_given(key.strip(), text, origin))
    return found


def from_environment(environment: Mapping[str, str] | None = None) -> list[Given]:
    """`PENCHANT_SEED`, `PENCHANT_PREPARE__PATH` as givens."""
    found = []
    for name, text in sorted((os.environ if environment is None else environment).items()):
        rest = name.removeprefix("PENCHANT_")
        if rest == name or not rest or rest.startswith("_") or rest in _NOT_OPTIONS:
            continue
        found.append(_given(rest.lower().replace("__", "."), text, f"environment {name}"))
    return found


def _given(key: str, text: str, origin: str) -> Given:
    path = tuple(key.split("."))
    if not all(path):
        raise OptionError(f"option {key!r} has an empty part ({origin})", "write options as key.sub=value")
    return Given(path, parse_scalar(text, f"{key} ({origin})"), origin, raw=text)


def resolve(
    options: Any, givens: Sequence[Given], prefix: str = "", own: Sequence[str] = ()
) -> tuple[Any, dict[str, str]]:
    """Lay givens (keys relative to the stage) over the defaults of `options`, a pydantic model class.

    Args:
        prefix: what stands before a key in messages and origins, `"mle."`.
        own: keys that the stage has besides its `Options` (for suggestions).

    Returns:
        The validated options, and dotted key -> origin for every leaf.
    """
    known = known_keys(options)
    givens = [given for given in (translated(given, known) for given in givens) if given is not None]
    for given in givens:
        _check_key(options, given, known, prefix, own)
    settled = _validate(options, givens, prefix)
    return settled, _origins(settled.model_dump(mode="json"), givens, prefix)


def _validate(options: Any, givens: list[Given], prefix: str) -> Any:
    from pydantic import ValidationError

    for _ in range(len(givens) + 1):
        try:
            return options.model_validate(_nested(givens))
        except ValidationError as failure:
            first = failure.errors()[0]
            given = behind(first["loc"], givens)
            index = givens.index(given) if given else -1
            # `name=2024` is text where text is wanted, whatever YAML makes of it.
            textual = first["type"] in ("string_type", "path_type") and given is not None
            if not (textual and given and given.raw is not None and given.value != given.raw):
                raise _complaint(failure, given, prefix, known_keys(options)) from None
            givens[index] = replace(given, value=given.raw)
    raise AssertionError("each round makes one value text")


def _complaint(failure: Any, given: Given | None, prefix: str, known: list[str]) -> OptionError:
    errors = failure.errors()
    first, more = errors[0], len(errors) - 1
    key = prefix + ".".join(str(part) for part in first["loc"])
    message = str(first["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    message = message[:1].lower() + message[1:]
    if first["type"] == "missing":
        problem, mend = f"option {key!r} is missing", f"give {key}=VALUE"
    elif first["type"] == "extra_forbidden":
        problem, mend = f"there is no option {key!r}", nearest(key, [prefix + name for name in known])
    else:
        problem, mend = (
            f"option {key!r} is {shortened(first['input'])}",
            f"it {message}" if message.startswith("should") else message,
        )
        if first["type"] == "literal_error":
            choices = str(first.get("ctx", {}).get("expected", "")).replace("'", "").replace(" or ", ", ").split(", ")
            close = difflib.get_close_matches(str(first["input"]), choices, n=1)
            mend += f"; did you mean {close[0]!r}?" if close else ""
    mend += f" (and {more} more)" if more else ""
    return given.wrong(problem, mend) if given else OptionError(problem, mend)


def shortened(value: Any) -> str:
    """A value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def known_keys(options: Any, prefix: str = "") -> list[str]:
    """All dotted keys of a pydantic model class, nested models included."""
    found = []
    for name, field in options.model_fields.items():
        found.append(prefix + name)
        if _plainly(field.annotation):
            for model in _models(field.annotation):
                found += known_keys(model, f"{prefix}{name}.")
    return found


def nearest(key: str, known: Iterable[str]) -> str:
    """A clause that suggests the nearest right key, or lists a few."""
    known = list(dict.fromkeys(known))
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if not near:  # the right name under the wrong parent
        last = {name.rpartition(".")[2]: name for name in reversed(known)}
        near = [last[m] for m in difflib.get_close_matches(key.rpartition(".")[2], list(last), n=1, cutoff=0.75)]
    if near:
        return f"did you mean {near[0]!r}?"
    return f"there are {', '.join(known[:12])}" + (" ..." if len(known) > 12 else "") if known else "it takes none"


def unknown_key(given: Given, known: Iterable[str], prefix: str = "") -> OptionError:
    """The error for a key that nothing knows."""
    return given.wrong(f"there is no option {prefix + given.name!r}", nearest(prefix + given.name, known))


def translated(given: Given, known: Sequence[str]) -> Given | None:
    """A given under its name here where it came under a name of Hugging Face's; None if it is not needed."""
    if len(given.key) != 1 or given.key[0] not in ALIASES or given.key[0] in known:
        return given
    targets = ALIASES[given.key[0]]
    if not targets:
        return None
    return next((replace(given, key=tuple(t.split("."))) for t in targets if t in known), given)


def _check_key(options: Any, given: Given, known: Sequence[str], prefix: str, own: Sequence[str]) -> None:
    """Refuse a key that leads past the typed part of the options."""
    model, rest = options, list(given.key)
    while rest:
        part = rest.pop(0)
        if part not in model.model_fields:
            raise unknown_key(given, [prefix + name for name in [*known, *own]], prefix)
        inner = _models(model.model_fields[part].annotation)
        if not inner or not rest:
            return
        if len(inner) > 1 or not _plainly(model.model_fields[part].annotation):
            return  # a union, or a list or mapping of models: pydantic decides
        model = inner[0]


def _models(annotation: Any) -> list[Any]:
    from pydantic import BaseModel

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _plainly(annotation: Any) -> bool:
    """Whether it is a model, or a model or None."""
    if get_origin(annotation) not in (None, Union, UnionType):
        return False
    return all(isinstance(part, type) and (part is type(None) or _models(part)) for part in get_args(annotation))


def _nested(givens: Sequence[Given]) -> dict[str, Any]:
    """The givens as one nested mapping; later ones win."""
    tree: dict[str, Any] = {}
    for given in givens:
        node = tree
        for part in given.key[:-1]:
            inner = node.get(part)
            node[part] = node = dict(inner) if isinstance(inner, dict) else {}
        node[given.key[-1]] = given.value
    return tree


def behind(loc: Sequence[Any], givens: Sequence[Given]) -> Given | None:
    """The last given that set what stands at `loc`, or something in it, or something around it."""
    path = tuple(str(part) for part in loc)
    for given in reversed(givens):
        shared = min(len(path), len(given.key))
        if path[:shared] == given.key[:shared]:
            return given
    # a tag of a union may stand inside the path
    return next((given for given in reversed(givens) if path[:1] == given.key[:1]), None)


def _origins(value: Any, givens: Sequence[Given], prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}

    def walk(node: Any, path: tuple[str, ...]) -> None:
        if isinstance(node, dict) and node:
            for key, inner in node.items():
                walk(inner, (*path, str(key)))
            return
        origin = "default"
        for given in givens:
            if path[: len(given.key)] == given.key or (given.key[: len(path)] == path and path):
                origin = given.origin
        found[prefix + ".".join(path)] = origin

    walk(value, ())
    return found
