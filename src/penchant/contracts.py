"""What each kind of plug-in must give, one Protocol a kind; plug-ins conform by shape, not by inheritance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from penchant.records import Batch, Completion, Document, Encoded, Prompt, Segment

__all__ = [
    "Algorithm",
    "Complaint",
    "Context",
    "Feed",
    "Judgement",
    "Mark",
    "Measure",
    "Objective",
    "Reward",
    "Signal",
    "Source",
    "Spot",
    "Stateful",
    "Task",
    "Term",
    "Transform",
]


@dataclass(frozen=True)
class Context:
    """What `build(options, context)` is handed; a plug-in reaches for nothing else.

    `data` is the summary of the prepared data (quantiles of scores by signal, ...), where there are any.
    """

    seed: int = 0
    tokenizer: Any = None
    task: Task | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    build: Callable[[str, str, Mapping[str, Any]], Any] | None = None  # kind, name, options -> plug-in


class Signal(Protocol):
    """`signals/NAME.py`: `build(options, context)` gives a function from ALL segments of ONE document, in order, to
    one float each, higher is better. The module also states RANGE, LANGUAGES (an ISO list or "any") and REMOTE.
    """

    def __call__(self, segments: Sequence[Segment]) -> list[float]: ...


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a document where a prompt ends, and what its task must remember to judge a completion there."""

    end: int
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mark:
    """Something found in a judged text: its line (from 1, in the judged text), a code and a few words."""

    line: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Measure:
    """What a measure means: `better` is "lower", "higher" or "" (neither)."""

    help: str
    better: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One completion judged.

    Attributes:
        measures: name -> (numerator, denominator); a value over many completions is sum / sum.
            Every task gives `reward` (in [0, 1] or documented, denominator 1).
        text: the part of the completion that was judged (a tail after the function's end is cut off).
        credit: how many characters of the completion earn credit or blame in training.
        marks: what was found, for the report.
    """

    measures: Mapping[str, tuple[float, float]]
    text: str
    credit: int
    marks: tuple[Mark, ...] = ()


class Task(Protocol):
    """`tasks/NAME.py`: where prompts end in a document, and how a completion is judged."""

    measures: Mapping[str, Measure]

    def spots(self, document: Document) -> list[Spot]: ...

    def judge(self, prompt: Prompt, text: str, stop: str) -> Judgement: ...


class Reward(Protocol):
    """`rewards/NAME.py`: one float (or None: no verdict, masked) a completion.

    Where one raises, it is asked again for each completion alone, and those that it fails for are masked and counted;
    a function whose values depend on the other completions has the attribute `whole_batch = True` against that.
    """

    def __call__(
        self, prompts: Sequence[Prompt], completions: Sequence[Completion], **columns: Any
    ) -> list[float | None]: ...


@dataclass(frozen=True, slots=True)
class Term:
    """One component of a loss: a sum (tensor, with gradient) over `weight` units, and statistics as (sum, count)."""

    sum: Any
    weight: float
    stats: Mapping[str, tuple[float, float]] = field(default_factory=dict)


class Objective(Protocol):
    """`objectives/NAME.py`: asks for quantities, returns sums; the loop divides once by the totals of all batches.

    An objective may also have:
        `transform(document, number, heldout) -> Encoded | None` (see `Transform`): how pretraining sees a document;
        by default its plain tokens.
        `control`: names of the control tokens that it teaches, the wanted one first.
        `needs`: columns of a batch without which it has no loss.
        `heads`: name -> outputs of the heads that pretraining gives a model for it (an algorithm says so itself).
        `unit`: what it cannot be cut within: `token` (the default), `sequence`, `pair` (sequences 2k, the chosen one,
            and 2k + 1) or `group` (sequences of the same number in the column `group`).
    """

    quantities: tuple[str, ...]

    def totals(self, batches: Sequence[Batch]) -> dict[str, float]: ...

    def loss(self, quantities: Mapping[str, Any], batch: Batch) -> dict[str, Term]: ...


@dataclass(frozen=True)
class Algorithm:
    """`algorithms/NAME.py`, `build(options, context) -> Algorithm`: what is minimised, on which credit.

    The module may say `SOURCE`, where its batches come from (`stages/tune.py` lists them); by default `rollouts`.

    Attributes:
        objective: what is minimised.
        advantages: rewards [groups, samples] -> float32 advantages of the same shape, NaN for what is left out; for
            rollouts that are credited a completion at a time.
        credit: all micro-batches of a rollout, with a column `rewards` by label (0 but where one was earned) and those
            of `needs`, -> the same batches with `advantages` (and `returns`); for credit a token at a time.
        needs: columns that `credit` or the objective reads besides `rewards`, `advantages` and `rollout_logprobs`:
            `old_logprobs`, `old_values` (fixed when a rollout begins), `reference_logprobs`.
        heads: name -> outputs a token of the heads that the model gets (`value`: 1, `score`: 1); 0: the vocabulary.
        iterations: passes over one rollout, unless the stage says otherwise.
        minibatches: updates of one pass.
        begin: called with the model once, heads added and in its place, before it is trained or gone on with; for what
            `after_update` moves together with it (targets, averages).
        shape: (rewards [completions], tokens of each, the most tokens) -> rewards, before advantages.
        dynamic_sampling: rounds at most that sample other prompts for groups whose rewards are all the same.
        pairs: a rollout is packed as pairs: of each group the completions of advantage 1 and -1, in this order.
        mask_truncated: completions that the token limit cut are not learned from.
        after_update: (step, metrics of that step) -> metrics to add; may move what is in `kept`.
        kept: name -> what changes with training besides weights (a target network, a coefficient); saved and restored.
        q_weight: how many times the published policy adds its smaller target Q to its logits, see `sampling.Options`.
    """

    objective: Objective
    advantages: Callable[[Any], Any] | None = None
    credit: Callable[[Sequence[Batch]], list[Batch]] | None = None
    needs: tuple[str, ...] = ()
    heads: Mapping[str, int] = field(default_factory=dict)
    iterations: int = 1
    minibatches: int = 1
    begin: Callable[[Any], None] | None = None
    shape: Callable[[Any, Any, int], Any] | None = None
    dynamic_sampling: int = 0
    pairs: bool = False
    mask_truncated: bool = False
    after_update: Callable[[int, Mapping[str, float]], Mapping[str, float]] | None = None
    kept: Mapping[str, Stateful] = field(default_factory=dict)
    q_weight: float = 0.0


class Stateful(Protocol):
    """Something whose state (nested dicts and lists of tensors, numbers and strings) is saved at each checkpoint."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class Transform(Protocol):
    """From a document to the tokens that a model is trained on; None leaves it out.

    `number` is the document's place in its split (to draw from a stream of its own); `heldout`: for the held-out loss,
    where nothing is left to chance.
    """

    def __call__(self, document: Document, number: int, heldout: bool) -> Encoded | None: ...


class Source(Protocol):
    """Where batches come from; RL is a source that samples. Its state is handed over at each checkpoint."""

    def next(self, step: int) -> tuple[list[Batch], dict[str, float]]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class StageContext:
    """What a stage function is handed besides its options.

    Attributes:
        name: the stage's name in the recipe.
        folder: where it writes; it may hold an unfinished earlier attempt to go on from.
        inputs: role -> folder of a finished stage.
        seed, threads: fixed for the run; threads are intra-op threads of torch.
        stop: returns the number of a signal that asked to stop, or 0; long stages look at it between steps,
            save, and raise Stopped.
        note: shows one line to the person (stderr), and keeps it in the run's log.
        feeds: role -> what is to fill it, where a stage only foretells (`plan`) and inputs may not be there yet.
    """

    name: str
    folder: Path
    inputs: Mapping[str, Path]
    seed: int
    threads: int
    stop: Callable[[], int]
    note: Callable[[str], None]
    feeds: Mapping[str, Feed | Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Feed:
    """What is to fill an input of a stage: another stage of the recipe, before it has run.

    Attributes:
        kind, options: that stage's.
        inputs: role -> what fills its own inputs; a Path is a folder that is there.
    """

    kind: str
    options: Any
    inputs: Mapping[str, Feed | Path]


# What is wrong with a stage's options, told before anything runs: the key, and what to do about its value.
Complaint = tuple[str, str]
