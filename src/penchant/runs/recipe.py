"""A recipe: named stages, what feeds what, and each stage's typed options with the origin of every value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import ModuleType
from typing import Any

from penchant import registry
from penchant.errors import InputError, OptionError
from penchant.options import (
    ALIASES,
    Given,
    from_arguments,
    from_environment,
    known_keys,
    nearest,
    resolve,
    unknown_key,
)
from penchant.runs.refusal import refuse
from penchant.runtime.launch import asked_processes
from penchant.yaml_file import read_yaml

__all__ = ["Recipe", "Stage", "find_recipe", "load_recipe"]

_TOP = ("seed", "run_dir", "name", "processes")
_OWN = ("threads", "inputs")  # keys of a stage that are not its `Options`
_DATA = ("prepare", "examples")  # what `data.KEY` speaks to
_TOP_ALIASES = {"output_dir": "run_dir", "run_name": "name"}


@dataclass(frozen=True)
class Stage:
    """One stage: `inputs` are role -> stage name or folder; `threads` a number or "auto"."""

    name: str
    kind: str
    inputs: Mapping[str, str]
    threads: int | str
    options: Any
    module: ModuleType

    def dump(self) -> dict[str, Any]:
        """What `recipe.json` holds of it."""
        options = self.options.model_dump(mode="json")
        return {"kind": self.kind, "inputs": dict(self.inputs), "threads": self.threads, "options": options}


@dataclass(frozen=True)
class Recipe:
    """Resolved: every option checked, stages in an order in which they can run.

    `processes`: how many run a training stage together; None for as many as `torchrun` says, else one. They are no part
    of what a run is: it can go on with another number.
    """

    name: str
    seed: int
    run_dir: str | None
    stages: Mapping[str, Stage]
    origins: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    processes: int | None = None

    def identity(self) -> dict[str, Any]:
        """What makes two runs the same run."""
        return {"seed": self.seed, "stages": {name: stage.dump() for name, stage in self.stages.items()}}

    def processes_of(self, stage: Stage) -> int:
        """How many processes run a stage together: one, unless its module says that several can (`PROCESSES`)."""
        return (self.processes or asked_processes() or 1) if getattr(stage.module, "PROCESSES", False) else 1

    def dependents(self, chosen: Sequence[str]) -> list[str]:
        """The chosen stages and all that depend on them, in order."""
        found: list[str] = []
        for name, stage in self.stages.items():
            if name in chosen or any(feeder in found for feeder in stage.inputs.values()):
                found.append(name)
        return found

    def ancestors(self, chosen: Sequence[str]) -> list[str]:
        """The chosen stages and all that they depend on, in order."""
        found = set(chosen)
        for name, stage in reversed(list(self.stages.items())):
            if name in found:
                found |= {feeder for feeder in stage.inputs.values() if feeder in self.stages}
        return [name for name in self.stages if name in found]

    def stage(self, name: str) -> Stage:
        """A stage by name."""
        if name not in self.stages:
            raise OptionError(f"no stage named {name!r} in {self.name}", nearest(name, self.stages))
        return self.stages[name]


def find_recipe(name: str) -> Path:
    """The file of a recipe, by name or path."""
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name)
        if path.is_dir():
            raise InputError("is a folder", "give a recipe's name or the path of its .yaml file", file=path)
        if not path.is_file():
            raise InputError("no such recipe", "check the path, or see `penchant list recipes`", file=path)
        return path
    path = Path(registry.__file__).parent / "recipes" / f"{name}.yaml"
    if not path.is_file() or not re.fullmatch(r"[\w-]+", name):
        known = registry.names("recipes")
        raise InputError(f"no recipe named {name!r}", nearest(name, known))
    return path


def load_recipe(
    source: str | Path | Mapping[str, Any],
    arguments: Sequence[str | Given] = (),
    environment: Mapping[str, str] | None = None,
    main: str | None = None,
) -> Recipe:
    """Read a recipe (by name or path, or given as a mapping) and lay the environment and `key=value`s over it.

    Args:
        environment: stands for `os.environ`.
        main: the stage that keys without a stage belong to.
    """
    lines: Mapping[tuple[str, ...], int]
    if isinstance(source, Mapping):
        content, lines, place = source, {}, ""
    else:
        path = find_recipe(str(source))
        content, lines = read_yaml(path)
        place = str(path)
    draft = _Draft(content, lines, place, main)
    layers = [[g for a in arguments for g in (from_arguments([a]) if isinstance(a, str) else [a])]]
    layers.insert(0, [given for given in from_environment(environment) if draft.concerns(given)])
    for layer in layers:
        draft.lay(layer)
    return draft.settle(str(source) if not isinstance(source, Mapping) else "")


class _Draft:
    """A recipe while its layers are laid over each other."""

    def __init__(self, content: Any, lines: Mapping[tuple[str, ...], int], place: str, main: str | None):
        self.place, self.lines, self.main = place, lines, main
        if not isinstance(content, Mapping) or not isinstance(content.get("stages"), Mapping) or not content["stages"]:
            raise OptionError(
                "a recipe needs `stages:`, each with a `kind:`", "see `penchant list recipes`", file=place or None
            )
        self.top: dict[str, Given] = {}
        self.kinds: dict[str, str] = {}
        self.modules: dict[str, ModuleType] = {}
        self.givens: dict[str, list[Given]] = {}
        for key, value in content.items():
            if key in _TOP:
                self.top[key] = self._given((key,), value)
            elif key != "stages":
                raise unknown_key(self._given((key,), value), [*_TOP, "stages"])
        for name, stage in content["stages"].items():
            self._add(name, stage)

    def _given(self, path: tuple[str, ...], value: Any) -> Given:
        key = path[2:] if path[0] == "stages" else path
        line = self.lines.get(path)
        if not self.place:
            return Given(key, value, "command")
        return Given(key, value, f"{Path(self.place).name}:{line}", f"{self.place}:{line}")

    def _add(self, name: str, stage: Any) -> None:
        where = self._given(("stages", name), None)
        if not re.fullmatch(r"[A-Za-z][\w-]*", name) or name in _TOP:
            raise where.wrong(f"{name!r} cannot be a stage's name", "take letters, digits and _")
        if not isinstance(stage, Mapping) or not isinstance(stage.get("kind"), str):
            raise where.wrong(f"stage {name!r} has no kind", f"give it one of {', '.join(registry.names('stages'))}")
        self.kinds[name] = stage["kind"]
        try:
            self.modules[name] = registry.load("stages", self._local(stage["kind"]))
        except InputError as error:
            raise self._given(("stages", name, "kind"), None).wrong(error.problem, error.mend) from None
        self.givens[name] = []
        for key, value in stage.items():
            if key != "kind":
                self._leaves(name, (key,), value)

    def _local(self, kind: str) -> str:
        """A kind that is a file may stand beside the recipe."""
        beside = Path(self.place).parent / kind
        return str(beside) if kind.endswith(".py") and self.place and beside.is_file() else kind

    def _leaves(self, name: str, key: tuple[str, ...], value: Any) -> None:
        if isinstance(value, Mapping) and value:
            for inner, below in value.items():
                self._leaves(name, (*key, inner), below)
        else:
            self.givens[name].append(self._given(("stages", name, *key), value))

    def concerns(self, given: Given) -> bool:
        """Whether a variable is about this recipe: one about another stage kind is none of its business."""
        first = given.key[0]
        return first in (*_TOP, *self.kinds, *self.kinds.values()) or first not in (*registry.names("stages"), "data")

    def lay(self, layer: Sequence[Given]) -> None:
        """Lay one layer over those before; within it, a stage's own key weighs more than its kind's."""
        for exact in (False, True):
            for given in layer:
                if (given.key[0] in self.kinds) is exact:
                    self._route(given)

    def _route(self, given: Given) -> None:
        first, rest = given.key[0], given.key[1:]
        first = _TOP_ALIASES.get(first, first)
        if first in _TOP and not rest:
            self.top[first] = replace(given, key=(first,))
            return
        wanted = _DATA if first == "data" else (first,)
        named = [name for name, kind in self.kinds.items() if Path(kind).stem in wanted]
        chosen = [first] if first in self.kinds else named
        if chosen and not rest:
            raise given.wrong(f"{first!r} is a stage", f"give one of its options as {first}.KEY=VALUE")
        if not chosen and self.main and self._knows(self.main, first):
            chosen, rest = [self.main], given.key
        if not chosen:
            if ALIASES.get(first) == ():
                return
            raise unknown_key(given, self._all_keys())
        for name in chosen:
            self.givens[name].append(replace(given, key=rest))

    def _knows(self, stage: str, first: str) -> bool:
        known = known_keys(self.modules[stage].Options)
        return first in known or first in _OWN or any(target in known for target in ALIASES.get(first, ()))

    def _all_keys(self) -> list[str]:
        found = list(_TOP)
        for name in [*self.kinds, *dict.fromkeys(self.kinds.values())]:
            stage = name if name in self.kinds else next(s for s, kind in self.kinds.items() if kind == name)
            known = [*known_keys(self.modules[stage].Options), "threads"]
            found += [f"{name}.{key}" for key in known]
            found += known if stage == self.main else []
        return found

    def settle(self, source: str) -> Recipe:
        """Check everything, and put the stages into an order in which they can run."""
        origins = {key: self.top[key].origin if key in self.top else "default" for key in ("name", "seed")}
        stages = {}
        for name in self.kinds:
            stages[name], found = self._stage(name)
            origins.update(found)
        fallback = Path(source).stem if source else "run"
        ordered = {name: stages[name] for name in self._order(stages)}
        refuse(ordered, self.givens, self.place)
        return Recipe(
            name=self._text("name", fallback) or fallback,
            seed=self._seed(),
            processes=self._processes(),
            run_dir=self._text("run_dir", None),
            stages=ordered,
            origins=origins,
            source=source,
        )

    def _stage(self, name: str) -> tuple[Stage, dict[str, str]]:
        own = [given for given in self.givens[name] if given.key[0] in _OWN]
        rest = [given for given in self.givens[name] if given.key[0] not in _OWN]
        options, origins = resolve(self.modules[name].Options, rest, f"{name}.", _OWN)
        threads: int | str = "auto"
        inputs: dict[str, str] = {}
        for given in {given.key: given for given in own}.values():  # the last word on each
            origins[f"{name}.{given.name}"] = given.origin
            if given.key == ("threads",):
                threads = given.value
                if threads != "auto" and (not isinstance(threads, int) or isinstance(threads, bool) or threads < 1):
                    raise given.wrong(
                        f"option '{name}.threads' is {threads!r}", "it should be a number from 1, or auto"
                    )
            elif len(given.key) == 2 and isinstance(given.value, str | int):
                inputs[given.key[1]] = self._feeder(name, given)
            elif given.value not in (None, {}):
                raise given.wrong(f"{name}.{given.name} is not a role", "write inputs as ROLE: STAGE")
        return Stage(name, self.kinds[name], inputs, threads, options, self.modules[name]), origins

    def _feeder(self, name: str, given: Given) -> str:
        value = str(given.value)
        if value in self.kinds:
            return value
        if Path(value).is_dir():
            return str(Path(value).resolve())
        mend = nearest(value, self.kinds) if "/" not in value else "check the path"
        raise given.wrong(f"{name}.{given.name} is {value!r}, neither a stage nor a folder", mend)

    def _order(self, stages: Mapping[str, Stage]) -> list[str]:
        graph = {name: [f for f in stage.inputs.values() if f in stages] for name, stage in stages.items()}
        try:
            return list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            circle = " -> ".join(error.args[1])
            raise OptionError(
                f"stages feed each other in a circle: {circle}", "cut it", file=self.place or None
            ) from None

    def _text(self, key: str, default: str | None) -> str | None:
        given = self.top.get(key)
        if given is None or given.value is None:
            return default
        text = given.raw if given.raw is not None else str(given.value)
        if key == "name" and not re.fullmatch(r"[\w][\w.-]*", text):
            raise given.wrong(f"option 'name' is {text!r}", "take letters, digits, - and _")
        return text

    def _processes(self) -> int | None:
        given = self.top.get("processes")
        if given is None or given.value is None:
            return None
        if not isinstance(given.value, int) or isinstance(given.value, bool) or not 1 <= given.value <= 1024:
            raise given.wrong(f"option 'processes' is {given.value!r}", "it should be a whole number from 1")
        return given.value

    def _seed(self) -> int:
        given = self.top.get("seed")
        if given is None:
            return 0
        value = given.value
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**32:
            raise given.wrong(f"option 'seed' is {value!r}", "it should be a whole number from 0 to 4294967295")
        return value
