"""`penchant.compare(recipe, algorithms, seeds)`: a recipe in which several algorithms tune from the same start.

It is a recipe as any other: its stages are shared where they are the same, it goes on where it was stopped, and the
last stage says which algorithm to take.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from penchant import registry
from penchant.data.examples import is_examples, peek
from penchant.errors import InputError
from penchant.files import read_json
from penchant.rewards._pool import KEYS
from penchant.runs.layout import RunFolder

__all__ = ["BEST_OF", "START", "compared", "comparison", "policy_tokens"]

START, BEST_OF, BESIDE = "start", "best_of", "sft"
_NO_POLICY = {"scored_pairs", "steps", "transitions"}  # sources of algorithms that give no model that writes
_BESIDE_REWARDS = ["exact_match", "token_f1"]
_ROOM = 50  # a cell may take that many times the recipe's steps before its budget ends it


def policy_tokens(options: Mapping[str, Any]) -> int:
    """The budget of a tuning: what its own algorithm samples and trains on where completions are half as long as they
    may be.
    """
    return int(options["steps"] * options["batch_size"] * options["max_completion_length"])


def comparison(
    recipe: Mapping[str, Any],
    algorithms: Sequence[str],
    seeds: int,
    *,
    tokens: int | None = None,
    best_of: int = 8,
    sft: bool = True,
    name: str = "compare",
    run: RunFolder | None = None,
) -> dict[str, Any]:
    """A recipe that tunes with each algorithm and seed, evaluates all, and compares.

    Args:
        recipe: `{name, seed, stages: {NAME: {kind, inputs, threads, options}}}`, as `recipe.json` has it.
        algorithms: names, or paths of files.
        seeds: runs of each.
        tokens: policy tokens, sampled and trained on, of each run; None for `policy_tokens` of the recipe's own tuning.
        best_of: samples a prompt of the row that tunes nothing.
        sft: put SFT on the data's own answers beside, where they have any.
        run: a run of this recipe, whose finished stages are taken as they are.

    Raises:
        InputError: the recipe has no tuning or no evaluation, there is no such algorithm, or they cannot be compared.

    """
    stages = recipe["stages"]
    tuning = next((n for n, s in stages.items() if s["kind"] == "tune"), None)
    evaluating = next((n for n, s in stages.items() if s["kind"] == "evaluate"), None)
    if tuning is None or evaluating is None:
        missing = "tune" if tuning is None else "evaluate"
        raise InputError(f"recipe {recipe['name']!r} has no stage of kind {missing}", "give one that has both")
    if len(set(algorithms)) < len(algorithms) or not algorithms:
        raise InputError(f"algorithms {list(algorithms)} are none, or one of them twice", "name each once")
    base = stages[tuning]
    answers = _answers(base, stages)
    for algorithm in algorithms:
        _require_comparable(algorithm, rows=answers is not None)
    if sft and BESIDE not in algorithms and answers is not False:
        algorithms = [*algorithms, BESIDE]
    kept = _ancestors(stages, [tuning])
    found = {name: _entry(stages[name], stages, run) for name in kept if _from_run(name, run) is None}
    budget = tokens or policy_tokens(base["options"])
    feeds = _inputs(base, stages, run)
    cells = {
        f"{_label(algorithm)}-s{seed}": _cell(base, algorithm, seed, budget, feeds)
        for algorithm in algorithms
        for seed in range(seeds)
    }
    found |= cells
    found["evaluate"] = _evaluation(stages[evaluating], base, list(cells), best_of, feeds, answers is not None)
    found["compare"] = {
        "kind": "compare",
        "inputs": {"evaluation": "evaluate", **{cell: cell for cell in cells}},
        "algorithms": {_label(a): [f"{_label(a)}-s{seed}" for seed in range(seeds)] for a in algorithms},
        "references": {START: [START], f"{BEST_OF}_{best_of}": [f"{BEST_OF}_{best_of}"]},
        "token_budget": budget,
    }
    return {"name": name, "seed": recipe["seed"], "stages": found}


def compared(
    recipe: str,
    settings: Sequence[str],
    algorithms: Sequence[str],
    seeds: int,
    *,
    tokens: int | None = None,
    best_of: int = 8,
    sft: bool = True,
) -> dict[str, Any]:
    """The comparison of a recipe's name or file, or of a run that has ended, with options over it.

    Raises:
        InputError: as `comparison`; or options were given for what a run has finished.
    """
    from penchant import api

    folder = Path(recipe)
    known = {"tokens": tokens, "best_of": best_of, "sft": sft}
    if (written := RunFolder(folder).recipe()) is not None:
        where = [word.removeprefix("run_dir=") for word in settings if word.startswith("run_dir=")]
        if len(where) < len(settings):
            mend = "give its recipe instead of its folder, or run_dir= alone"
            raise InputError("a run's options are settled", mend, file=folder)
        name = f"{folder.resolve().name}-compare"
        made = comparison(written, algorithms, seeds, name=name, run=RunFolder(folder), **known)  # type: ignore[arg-type]
        return made | ({"run_dir": where[-1]} if where else {})
    found = api.resolved(recipe, settings)
    whole = {"name": found.name, **found.identity()}
    made = comparison(whole, algorithms, seeds, name=f"{found.name}-compare", **known)  # type: ignore[arg-type]
    return made | ({"run_dir": found.run_dir} if found.run_dir else {})


def _answers(tuning: Mapping[str, Any], stages: Mapping[str, Any]) -> bool | None:
    """Whether rows that a tuning learns from have answers; None where it learns from documents."""
    feeder = tuning["inputs"].get("data")
    if (stage := stages.get(feeder)) is not None:
        if stage["kind"] != "examples":
            return None
        options, made = stage["options"], ("completion", "chosen")
        given = options["path"] if isinstance(options["path"], str) else options["path"][0]
        return any(n in options["templates"] or n in options["columns"] for n in made) or peek(given) not in (
            None,
            "prompt_only",
        )
    summary = read_json(Path(str(feeder)) / "summary.json")
    return summary.get("format") != "prompt_only" if is_examples(summary) else None


def _require_comparable(algorithm: str, rows: bool) -> None:
    """Refuse an algorithm that gives no policy, or that the data cannot feed."""
    source = getattr(registry.load("algorithms", algorithm), "SOURCE", "rollouts")
    if source in _NO_POLICY:
        raise InputError(
            f"algorithm {algorithm} gives no model that writes text", "compare those that do: grpo, rloo, ppo, dpo, sft"
        )
    if source not in ("rollouts", "examples") and not rows:
        raise InputError(
            f"algorithm {algorithm} learns from rows of {source}, and the recipe's tuning has documents",
            "compare those that learn from rollouts (grpo, rloo, ppo ...) and sft",
        )


def _label(algorithm: str) -> str:
    """A name for stages: letters, digits, - and _."""
    return Path(algorithm).stem if algorithm.endswith(".py") else algorithm.rpartition(".")[2]


def _ancestors(stages: Mapping[str, Any], chosen: Sequence[str]) -> list[str]:
    """What the chosen stages depend on, in the recipe's order, without themselves."""
    wanted: set[str] = set()
    left = list(chosen)
    while left:
        for feeder in stages[left.pop()]["inputs"].values():
            if feeder in stages and feeder not in wanted:
                wanted.add(feeder)
                left.append(feeder)
    return [name for name in stages if name in wanted]


def _from_run(name: str, run: RunFolder | None) -> str | None:
    """The folder of a stage that a run has finished."""
    return None if run is None or run.done(name) is None else str(run.stage(name).resolve())


def _inputs(stage: Mapping[str, Any], stages: Mapping[str, Any], run: RunFolder | None) -> dict[str, str]:
    return {role: (_from_run(f, run) or f) if f in stages else f for role, f in stage["inputs"].items()}


def _entry(stage: Mapping[str, Any], stages: Mapping[str, Any], run: RunFolder | None) -> dict[str, Any]:
    own = {"kind": stage["kind"], "inputs": _inputs(stage, stages, run), "threads": stage["threads"]}
    return {**copy.deepcopy(stage["options"]), **own}


def _cell(base: Mapping[str, Any], algorithm: str, seed: int, budget: int, inputs: Mapping[str, str]) -> dict[str, Any]:
    options = copy.deepcopy(base["options"])
    if algorithm != options["algorithm"]:
        options["algorithm_options"] = {}
    if algorithm == BESIDE:  # of documents its rows are a prompt and a completion; rows have a max_length of their own
        options["max_length"] = max(options["max_length"], options["prompt_tokens"] + options["max_completion_length"])
    options |= {"algorithm": algorithm, "seed": seed, "token_budget": budget, "steps": options["steps"] * _ROOM}
    return {**options, "kind": "tune", "inputs": dict(inputs), "threads": base["threads"]}


def _evaluation(
    stage: Mapping[str, Any],
    base: Mapping[str, Any],
    cells: Sequence[str],
    best_of: int,
    inputs: Mapping[str, str],
    rows: bool,
) -> dict[str, Any]:
    """The recipe's evaluation of the start and of all cells; of rows, by the rewards that they are tuned by."""
    ask = None if rows else base["options"]["ask"]
    options = copy.deepcopy(stage["options"])
    if rows:
        own = options["task"] if options["task"]["name"] == "answer" else {"name": "answer", "metrics": _BESIDE_REWARDS}
        rewards = [{k: v for k, v in entry.items() if k not in KEYS} for entry in base["options"]["rewards"]]
        options["task"] = {"rewards": rewards, "combine": base["options"]["combine"], **own}
    options["models"] = {START: {"model": START, "ask": ask}} | {c: {"model": c, "ask": ask} for c in cells}
    options |= {
        "best_of": {f"{BEST_OF}_{best_of}": {"of": START, "n": best_of}},
        "temperatures": options["temperatures"][:1],
        "pairs": [[START, cell] for cell in cells],
        "real": False,
    }
    feeds = {"data": inputs["data"], START: inputs["model"], **{cell: cell for cell in cells}}
    return {**options, "kind": "evaluate", "inputs": feeds, "threads": stage["threads"]}
