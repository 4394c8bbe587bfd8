"""`penchant.tune(model, data, rewards=..., algorithm=...)`: tuning from Python, with functions as rewards."""

from __future__ import annotations

import inspect
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from penchant import console
from penchant.contracts import StageContext
from penchant.errors import InputError
from penchant.files import lock, read_json, stable_hash, write_json
from penchant.machine import cores
from penchant.policy import Policy, load
from penchant.runs.layout import published
from penchant.runtime.launch import place

__all__ = ["tune"]

RewardLike = str | dict[str, Any] | Callable[..., Sequence[float | None]]


def _identity(chosen: Any, model: Path, data: Path, seed: int, threads: int) -> str:
    """A hash of all that decides the result: options, the reward functions' code, weights, data, seed and threads."""

    def shown(value: Any) -> Any:
        if not callable(value):
            return value
        try:
            return inspect.getsource(value if inspect.isroutine(value) else type(value))
        except (OSError, TypeError):  # typed at a prompt
            return repr(value)

    options = chosen.model_dump()
    options["rewards"] = [{k: shown(v) for k, v in entry.items()} for entry in options["rewards"]]
    if isinstance(options["environment"], dict):
        tools = options["environment"].get("tools", [])
        options["environment"] = {**options["environment"], "tools": [shown(tool) for tool in tools]}
    files = [*sorted(published(model).glob("model*.safetensors")), data / "train.parquet", data / "validation.parquet"]
    return stable_hash([options, seed, threads, [stable_hash(path) for path in files if path.is_file()]])


def _same_or_new(folder: Path, identity: str) -> None:
    """Refuse a folder that holds another tuning, so that its result is never taken for this one's."""
    path = folder / "tuning.json"
    if not path.exists():
        write_json(path, {"identity": identity})
    elif read_json(path).get("identity") != identity:
        raise InputError(
            "holds a tuning with other options, rewards, model, data, seed or threads",
            "give another run_dir=, or remove the folder",
            file=folder,
        )


@contextmanager
def _stops() -> Iterator[Callable[[], int]]:
    """Ctrl-C and SIGTERM as a number to look at, so that the stage saves first; only in the main thread."""
    asked = [0]
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, lambda n, _: asked.__setitem__(0, n))
    try:
        yield lambda: asked[0]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def tune(
    model: str | Path,
    data: str | Path,
    rewards: RewardLike | Sequence[RewardLike] = "task",
    algorithm: str = "grpo",
    run_dir: str | Path = "runs/tune",
    seed: int = 0,
    threads: int | None = None,
    **options: Any,
) -> Policy:
    """Tune a model in this process (or together with others, in a script under `torchrun`) and return the result.

    Args:
        model: a model folder.
        data: a prepared folder.
        rewards: names of rewards, `{name, weight, ...options}`, or functions of TRL's signature
            `f(prompts, completions, **columns) -> list[float | None]` (None: no verdict, left out).
        algorithm: a name of `penchant list algorithms`.
        run_dir: where it writes; an unfinished run there goes on.
        options: those of the stage `tune`, e.g. `steps=50, num_generations=4, task={"name": "continuation"}`.

    Raises:
        InputError: an option or a path is wrong. Stopped: by Ctrl-C, after saving.
    """
    from pydantic import ValidationError

    from penchant.stages import tune as stage

    given = [rewards] if isinstance(rewards, str | dict) or callable(rewards) else list(rewards)
    entries = [
        {"name": r}
        if isinstance(r, str)
        else r
        if isinstance(r, dict)
        else {"name": getattr(r, "__name__", type(r).__name__), "call": r}
        for r in given
    ]
    try:
        chosen = stage.Options(algorithm=algorithm, rewards=entries, **options)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"option {'.'.join(map(str, first['loc']))}: {first['msg']}",
            f"the options are {', '.join(stage.Options.model_fields)}",
        ) from error
    folder = Path(run_dir)
    here = place()  # of a script under torchrun, whose processes tune together; the first holds the folder
    threads = threads or max(1, cores() // here.ranks)
    with lock(folder) if here.first else nullcontext(), _stops() as stop:
        if here.first:
            _same_or_new(folder, _identity(chosen, Path(model), Path(data), seed, threads))
        inputs = {"model": Path(model), "data": Path(data)}
        context = StageContext("tune", folder, inputs, seed, threads, stop, console.note)
        stage.run(chosen, context)
    return load(folder / "model")
