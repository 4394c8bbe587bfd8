"""The sampler: `generate` takes prompts as token ids and gives back what was sampled, with its log-probs.

A prompt that several requests share is run once; places that fall free are taken by the next request; nothing is
padded. On a CPU the rows are split over lanes, one a thread (two threads that never wait for each other are faster than
one operation split over two). The numbers that a request draws with depend on its seed alone. On a CPU with our own
product or oneDNN's the bits of its log-probs do not depend on the rows beside it either; elsewhere rounding can differ.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from penchant.errors import InputError
from penchant.models.decoder import Decoder
from penchant.models.frozen import Frozen
from penchant.models.hugging_face import Foreign
from penchant.models.replay import Tape
from penchant.runtime.device import one_thread, set_threads
from penchant.sampling import unfolded
from penchant.sampling.board import Face
from penchant.sampling.cache import Prefix
from penchant.sampling.lane import Group, Lane
from penchant.sampling.options import Listen, Options, Sampled, check_prompts
from penchant.sampling.rows import Decode, Request

__all__ = ["Options", "Prefix", "Sampled", "generate"]

SLOTS = 256  # rows at once, where nothing else is asked for
_A_LANE = 8  # a lane of fewer rows does not pay


def generate(
    model: Decoder | Frozen | Foreign,
    prompts: Sequence[Sequence[int]],
    options: Options | None = None,
    *,
    seed: int = 0,
    first: int = 0,
    seeds: Sequence[int] | None = None,
    most: Sequence[int] | None = None,
    slots: int | None = None,
    prefixes: Sequence[Prefix | None] | None = None,
    keep: bool = False,
    decode: Decode | None = None,
    listen: Listen | None = None,
    progress: Callable[[int, int], None] | None = None,
    finished: Callable[[int, Sampled], None] | None = None,
    tape: Tape | None = None,
    **changes: Any,
) -> list[Sampled]:
    """Sample a completion of each prompt (token ids).

    Args:
        options: how to sample; `changes` are its fields, given by name.
        seed, first: request i draws from stream (seed, first + i).
        seeds: a seed for each request instead: it draws what it would alone under that `seed`.
        most: how many tokens each may choose, where some may choose fewer than `max_new_tokens`.
        slots: rows sampled at once, split evenly over the lanes; by default as many as there are requests, up to 256.
        prefixes: for each prompt a text kept earlier, or None; what the prompt
            shares with its beginning is not run again.
        keep: give each result a `prefix`.
        decode: token ids to text, for stop strings.
        listen: called with (request, new ids, their log-probs) as tokens come; the calls of one request come in order,
            and no two calls at once.
        progress: called with requests done and wanted.
        finished: called with (request, result) as soon as there is one, no two calls at once.
        tape: keeps what the linear layers gave, for an update to go on from (`models/replay`); our own decoder on a
            CPU, without prefixes.

    Raises:
        InputError: an option is out of range, a prompt is empty or does not fit the context with its completion, or a
            prefix belongs to other weights.
        NotFinite: the model's logits are not finite.
    """
    how = _options(options, changes)
    check_prompts(prompts, how, model.config.vocab_size, _context(model, how), most)
    if how.stop and decode is None:
        raise InputError("stop strings need to see text", "give decode=, e.g. tokenizer.decode")
    if not prompts:
        return []
    requests, count = _requests(prompts, seed, first, seeds, most), slots or min(SLOTS, len(prompts))
    results = _Results(len(prompts), listen, progress, finished)
    stop = threading.Event()
    face = Face(results.tell, results.hear if listen else None, decode, stop.is_set)
    if isinstance(model, Foreign):
        if keep or prefixes:
            raise InputError("only our own decoder keeps a text to go on from", "leave keep and prefixes out")
        unfolded.run(model, requests, how, count, face)
        return results.all()
    frozen = model if isinstance(model, Frozen) else Frozen(model)
    if tape is not None and (prefixes or frozen.device.type != "cpu"):
        raise InputError("a tape is kept on a CPU, and without prefixes", "leave tape= out")
    stamp = frozen.stamp() if keep or prefixes else None
    parts = _split(_groups(requests, prefixes, stamp, how), _lane_count(frozen, count))
    rows = [min(-(-count // len(parts)), sum(len(g.requests) for g in part)) for part in parts]
    kept = stamp if keep else None
    _run([Lane(frozen, part, how, n, face, kept, tape) for part, n in zip(parts, rows, strict=True)], stop)
    return results.all()


class _Results:
    """What lanes tell, one at a time."""

    def __init__(
        self,
        count: int,
        listen: Listen | None,
        progress: Callable[[int, int], None] | None,
        finished: Callable[[int, Sampled], None] | None = None,
    ):
        self._finished = finished
        self._found: list[Sampled | None] = [None] * count
        self._listen, self._progress, self._done, self._lock = listen, progress, 0, threading.Lock()

    def tell(self, number: int, result: Sampled) -> None:
        with self._lock:
            self._found[number] = result
            self._done += 1
            if self._finished:
                self._finished(number, result)
            if self._progress:
                self._progress(self._done, len(self._found))

    def hear(self, number: int, ids: tuple[int, ...], logprobs: Any) -> None:
        with self._lock:
            if self._listen:
                self._listen(number, ids, logprobs)

    def all(self) -> list[Sampled]:
        return [result for result in self._found if result is not None]


def _context(model: Decoder | Foreign | Frozen, options: Options) -> int:
    """How many tokens prompt and text may hold together; a source and its target each have the whole."""
    most = model.config.max_position_embeddings
    return most + options.max_new_tokens if isinstance(model, Foreign) and model.kind == "seq2seq" else most


def _options(options: Options | None, changes: dict[str, Any]) -> Options:
    """The options with the fields that were given by name."""
    if unknown := [name for name in changes if name not in Options.__dataclass_fields__]:
        raise TypeError(f"generate has no option {unknown[0]!r}; there are {', '.join(Options.__dataclass_fields__)}")
    return replace(options, **changes) if options else Options(**changes)


def _requests(
    prompts: Sequence[Sequence[int]], seed: int, first: int, seeds: Sequence[int] | None, most: Sequence[int] | None
) -> list[Request]:
    if most is not None and (len(most) != len(prompts) or min(most, default=1) < 1):
        raise InputError(f"{len(most)} limits for {len(prompts)} prompts", "give one each, of at least 1")
    if seeds is not None and len(seeds) != len(prompts):
        raise InputError(f"{len(seeds)} seeds for {len(prompts)} prompts", "give one each")
    draws = [(seed, first + i) for i in range(len(prompts))] if seeds is None else [(s, 0) for s in seeds]
    limits: Sequence[int | None] = most or [None] * len(prompts)
    every = enumerate(zip(prompts, draws, limits, strict=True))
    return [Request(i, tuple(map(int, p)), d, m) for i, (p, d, m) in every]


def _groups(
    requests: Sequence[Request],
    prefixes: Sequence[Prefix | None] | None,
    stamp: tuple[float, ...] | None,
    options: Options,
) -> list[Group]:
    """Requests by prompt, in the order in which the prompts first came."""
    if prefixes is not None and len(prefixes) != len(requests):
        raise InputError(f"{len(prefixes)} prefixes for {len(requests)} prompts", "give one each, or None")
    groups: dict[tuple[tuple[int, ...], int], Group] = {}
    for request, prefix in zip(requests, prefixes or [None] * len(requests), strict=True):
        key = (request.prompt, id(prefix))
        if key not in groups:
            groups[key] = Group(request.prompt, deque(), _reuse(request.prompt, prefix, stamp, options))
        groups[key].requests.append(request)
    return list(groups.values())


def _reuse(
    prompt: tuple[int, ...], prefix: Prefix | None, stamp: tuple[float, ...] | None, options: Options
) -> tuple[Prefix, int] | None:
    """How much of a prompt a prefix covers; the last token is run always, for what comes after it."""
    if prefix is None or options.prompt_logprobs:
        return None
    if prefix.stamp != stamp:
        raise InputError("a prefix was kept under other weights", "run the whole prompt after each change of the model")
    both = zip(prefix.ids, prompt[:-1], strict=False)
    shared = next((i for i, (a, b) in enumerate(both) if a != b), min(len(prefix.ids), len(prompt) - 1))
    return (prefix, shared) if shared else None


def _lane_count(model: Frozen, rows: int) -> int:
    return max(1, min(torch.get_num_threads(), rows // _A_LANE)) if model.device.type == "cpu" else 1


def _split(groups: Sequence[Group], lanes: int) -> list[list[Group]]:
    """Spread groups over lanes evenly and the same way always: whole ones where that is even enough."""
    if lanes == 1:
        return [list(groups)]
    total = sum(len(g.requests) for g in groups)
    piece = max(1, total // (4 * lanes))
    parts: list[list[Group]] = [[] for _ in range(lanes)]
    loads = [0] * lanes
    for group in groups:
        mine: dict[int, Group] = {}
        while group.requests:
            lane = loads.index(min(loads))
            if lane not in mine:
                mine[lane] = Group(group.prompt, deque(), group.reuse)
                parts[lane].append(mine[lane])
            for _ in range(min(piece, len(group.requests))):
                mine[lane].requests.append(group.requests.popleft())
                loads[lane] += 1
    return [part for part in parts if part]


def _run(lanes: Sequence[Lane], stop: threading.Event) -> None:
    """Run lanes side by side, the first one in this thread; the first failure ends them all and is raised."""
    if len(lanes) == 1:
        lanes[0].run()
        return
    threads, errors = torch.get_num_threads(), []

    def run(lane: Lane) -> None:
        one_thread()
        try:
            lane.run()
        except BaseException as error:  # of Ctrl-C too: the other lanes must end first
            errors.append(error)
            stop.set()

    others = [threading.Thread(target=run, args=(lane,), name="sampling") for lane in lanes[1:]]
    for thread in others:
        thread.start()
    run(lanes[0])
    while any(thread.is_alive() for thread in others):
        try:
            for thread in others:
                thread.join()
        except KeyboardInterrupt as error:
            errors.append(error)
            stop.set()
    set_threads(threads)
    if errors:
        raise errors[0]
