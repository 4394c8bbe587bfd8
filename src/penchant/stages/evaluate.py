"""Evaluate models side by side: what they write on held-out prompts, judged, and their perplexity on held-out text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from penchant import console
from penchant.contracts import Measure, Spot, StageContext, Task
from penchant.data.store import read_documents
from penchant.errors import DataRejected, InputError, Stopped
from penchant.evaluation.completions import Sampling, Written, real, sample, stored
from penchant.evaluation.evaluate import PAIRS, Ratio, Row, evaluate
from penchant.evaluation.judging import judge_all, write_samples
from penchant.evaluation.machine import Evaluated, Machine, open_machine
from penchant.evaluation.perplexity import held_out, measure
from penchant.evaluation.prompts import choose_spots, prompts_by_way
from penchant.files import read_json, stable_hash, write_json
from penchant.plugins import build_context
from penchant.records import Document, Prompt
from penchant.runtime.names import DeviceName
from penchant.runtime.random import stream
from penchant.stages._checks import evaluate_check as check
from penchant.text.control import labels, resolve_threshold
from penchant.text.prompts import make_prompt

__all__ = ["INPUTS", "BestOf", "Machine", "Options", "RowOptions", "check", "open_machine", "plan", "run"]

INPUTS = ("data", ...)  # and a role a model


BY_BYTE = {"bits_per_byte", "bits_per_byte_labelled"}
OTHER_TOKENS = (
    "the models cut text into different tokens, so their perplexities by token cannot be compared and are left out; "
    "compare bits a byte"
)


class RowOptions(BaseModel):
    """One row: a model and what it is asked for."""

    model_config = ConfigDict(extra="forbid")
    model: str = Field(description="the role of its stage among the inputs")
    ask: str | None = Field(default=None, description="control token asked for (good, bad); null for none at all")


class BestOf(BaseModel):
    """A row that keeps the best of n samples by the task's reward."""

    model_config = ConfigDict(extra="forbid")
    of: str = Field(description="the row whose model and way of asking are sampled")
    n: int = Field(default=8, ge=2, description="samples a prompt")


class Options(BaseModel):
    """How models are evaluated."""

    model_config = ConfigDict(extra="forbid")
    task: dict[str, Any] = Field(
        default={"name": "function_body"}, description="name of the task, its options beside it"
    )
    models: dict[str, RowOptions] = Field(description="row -> {model: role, ask: good | bad | null}")
    best_of: dict[str, BestOf] = Field(default={}, description="row -> {of: row, n: samples}")
    real: bool = Field(default=True, description="add the row `real`: what the documents themselves go on with")
    split: Literal["train", "validation", "test"] = "test"
    prompts: int = Field(default=400, ge=1, description="prompts at most")
    per_file: int = Field(default=12, ge=1, description="prompts from one file at most")
    prompt_tokens: int = Field(default=72, ge=1, description="text tokens of a prompt at most")
    max_new_tokens: int = Field(default=96, ge=1, description="chosen tokens of a completion at most")
    temperatures: list[Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default=[0.7, 1.0], min_length=1, description="the first is the main one"
    )
    signal: str = Field(default="style", description="whose scores the control tokens stand for")
    threshold: float | str = Field(default=0.0, description="score from which a segment is good; median, or qX")
    perplexity_tokens: int = Field(default=40_000, ge=0, description="held-out content tokens; 0 for no perplexity")
    perplexity_window: int = Field(
        default=128, ge=16, description="tokens a model sees at once there at most, control tokens included"
    )
    pairs: list[tuple[str, str]] = Field(default=list(PAIRS), description="rows to compare by paired tests")
    bootstrap: int = Field(default=1000, ge=2, description="resamples of intervals and tests")
    distinct_bigrams: int = Field(default=5000, ge=2, description="bigrams that distinct-2 looks at, at most")
    primary: str | None = Field(default=None, description="the measure that the report leads with")
    device: DeviceName = "auto"


def plan(options: Options, context: StageContext) -> dict[str, Any]:
    """What a run would take: tokens at most, and rough seconds, memory and disk."""
    rows = len(options.models) * len(options.temperatures) + sum(best.n for best in options.best_of.values())
    tokens = rows * options.prompts * (options.max_new_tokens + options.prompt_tokens)
    scored = 2 * len({row.model for row in options.models.values()}) * options.perplexity_tokens
    return {
        "tokens": tokens + scored,
        "seconds": tokens / 20_000 + scored / 30_000,
        "memory": 1 << 30,
        "disk": 16 << 20,
    }


def run(
    options: Options, context: StageContext, open_model: Callable[[Path, str], Machine] = open_machine
) -> dict[str, Any]:
    """Write `evaluation.json` and `samples.jsonl`; completions are kept in `rows/`, so that a stopped stage goes on.

    Inputs: `data` (a prepare folder), and the role of each model (a stage folder with `model/`, or a model folder).

    Raises:
        InputError: a role, row, signal or control token that is not there.
        DataRejected: the split has no usable prompt.
        Stopped: a signal asked to; what was written so far is kept.
    """
    from penchant.runtime.device import set_threads

    set_threads(context.threads)
    return _Evaluation(options, context, open_model).run()


@dataclass
class _Evaluation:
    """One run of the stage."""

    options: Options
    context: StageContext
    open_model: Callable[[Path, str], Machine]
    threshold: float = 0.0
    documents: list[Document] = field(default_factory=list)
    cached: dict[int, list[str]] = field(default_factory=dict)
    held_out: dict[str, Any] = field(default_factory=dict)  # what is to be said of the perplexities

    def run(self) -> dict[str, Any]:
        o, data = self.options, self.context.inputs["data"]
        self._check_rows()
        summary = read_json(data / "summary.json") if (data / "summary.json").is_file() else {}
        segment = summary.get("segment", "line")
        self.models = {
            role: self._model(role, segment) for role in dict.fromkeys(row.model for row in o.models.values())
        }
        self._check_asks(segment)
        self.documents = read_documents(data / f"{o.split}.parquet")
        if not self.documents:
            raise DataRejected(f"the {o.split} split is empty", "give more documents", file=data / f"{o.split}.parquet")
        if any(row.ask for row in o.models.values()):
            self.threshold = resolve_threshold(o.threshold, summary, o.signal)
        tokenizer = next(iter(self.models.values())).tokenizer
        task = build_context(self.context.seed, tokenizer, o.task).task
        assert task is not None
        prompts = self._prompts(task)
        written = self._written(prompts)
        rows, judged = {}, {}
        for name, completions in written.items():
            self._stop()
            own = prompts[self._base(name)]
            judged[name], completions = judge_all(task, own, completions)
            written[name] = completions
            rows[name] = Row([p.source for p in own], judged[name], {})
        for name, extra in self._perplexities().items():
            rows[name] = Row(rows[name].sources, rows[name].judgements, extra)
        found = self._evaluate(rows, task.measures)
        write_samples(self.context.folder / "samples.jsonl", prompts, self._base, judged, written)
        found["settings"] |= {"prompts": len(next(iter(prompts.values())))}
        write_json(self.context.folder / "evaluation.json", found)
        return {
            "rows": len(rows),
            "prompts": found["settings"]["prompts"],
            "files": len(set(rows[next(iter(rows))].sources)),
        }

    # Checks ------------------------------------------------------------------------------------------------------

    def _check_rows(self) -> None:
        o = self.options
        for name, best in o.best_of.items():
            if best.of not in o.models or name in o.models:
                raise InputError(
                    f"best_of.{name}: of={best.of!r} is no row of models, or the name is taken",
                    f"the rows are {', '.join(o.models)}",
                )
        if not o.models or "real" in o.models or "real" in o.best_of:
            raise InputError("models is empty, or a row is named real", "name at least one row of a model")
        if len({_suffix(o.temperatures, t) for t in o.temperatures}) < len(o.temperatures):
            raise InputError("temperatures repeat", "give each once")

    def _check_asks(self, segment: str) -> None:
        for name, row in self.options.models.items():
            if row.ask is not None:
                self.models[row.model].layout.require(row.ask, f"models.{name}")
                self.models[row.model].layout.require_segment(segment, f"models.{name}")

    def _model(self, role: str, segment: str) -> Evaluated:
        if role not in self.context.inputs:
            known = ", ".join(r for r in self.context.inputs if r != "data") or "none"
            raise InputError(f"no input {role!r} for a model", f"the stage's inputs are {known}")
        return Evaluated.of(
            self.context.inputs[role], segment, lambda folder: self.open_model(folder, self.options.device)
        )

    def _stop(self) -> None:
        if number := self.context.stop():
            raise Stopped(number)

    # Prompts and completions -------------------------------------------------------------------------------------

    def _base(self, row: str) -> str:
        """The row of `models` whose prompts a row was written from (`real` and best-of have none of their own)."""
        o = self.options
        if row in o.best_of:
            return o.best_of[row].of
        names = [name for name in o.models for t in o.temperatures if row == name + _suffix(o.temperatures, t)]
        return names[0] if names else next(iter(o.models))

    def _labels(self, document: Document) -> list[str]:
        # By the object: several documents may come from one source.
        if id(document) not in self.cached:
            self.cached[id(document)] = labels(document, self.options.signal, self.threshold)
        return self.cached[id(document)]

    def _prompts(self, task: Task) -> dict[str, list[Prompt]]:
        """The prompts of each row of `models`: the same places, control tokens as the row asks."""
        o = self.options

        def way(row: RowOptions) -> Callable[[Document, Spot], Prompt | None]:
            def make(document: Document, spot: Spot) -> Prompt | None:
                given = None if row.ask is None else self._labels(document)
                tokenizer = self.models[row.model].tokenizer
                return make_prompt(document, spot, tokenizer, o.prompt_tokens, given, last=row.ask)

            return make

        places = choose_spots(self.documents, task, o.per_file, self.context.seed)
        made = prompts_by_way(places, [way(r) for r in o.models.values()], o.prompts)
        if len(made[0]) < o.prompts:
            there = f"{len(made[0])} prompts, not {o.prompts}"
            self.context.note(f"{self.context.name}: {there}: no more within per_file and prompt_tokens")
        return dict(zip(o.models, made, strict=True))

    def _written(self, prompts: Mapping[str, list[Prompt]]) -> dict[str, list[Written]]:
        """The completions of every row, n a prompt; each row is stored before the next is begun."""
        o = self.options
        found: dict[str, list[Written]] = {}
        for temperature in o.temperatures:
            for name, row in o.models.items():
                full = name + _suffix(o.temperatures, temperature)
                found[full] = self._sampled(full, row, prompts[name], temperature, 1)
        for name, best in o.best_of.items():
            found[name] = self._sampled(name, o.models[best.of], prompts[best.of], o.temperatures[0], best.n)
        if o.real:
            first = next(iter(o.models))
            found["real"] = real(self.models[o.models[first].model].tokenizer, prompts[first], o.max_new_tokens)
        return found

    def _sampled(
        self, name: str, row: RowOptions, prompts: Sequence[Prompt], temperature: float, n: int
    ) -> list[Written]:
        self._stop()
        model = self.models[row.model]
        # Rows share their random numbers, so that their differences are less of chance; best-of has its own.
        seed = int(stable_hash(["evaluate", self.context.seed, n])[:8], 16)
        insert = model.layout.insertions(model.tokenizer, row.ask)
        how = Sampling(row.ask, temperature, self.options.max_new_tokens, n, seed, insert, model.layout.q_weight)
        weights = [stable_hash(path) for path in sorted(model.folder.glob("*.safetensors"))]
        key = stable_hash(
            [
                weights,
                [p.ids for p in prompts],
                how.ask,
                sorted(insert.items()),
                how.temperature,
                how.max_new_tokens,
                n,
                seed,
                how.q_weight,
            ]
        )

        def make() -> list[Written]:
            def tell(done: int, wanted: int) -> None:
                console.report_progress(done, wanted, row=name)

            return sample(model.opened().generate, model.tokenizer, prompts, how, self.context.stop, tell)

        return stored(self.context.folder / "rows" / f"{name}.jsonl", key, make)

    # Figures -----------------------------------------------------------------------------------------------------

    def _perplexities(self) -> dict[str, dict[str, Ratio]]:
        """Perplexity and bits a byte of each model, under the first row that uses it; the same text for all."""
        o, found = self.options, dict[str, dict[str, Ratio]]()
        if not o.perplexity_tokens:
            return found
        asked = {row.model for row in o.models.values() if row.ask}
        tokenizers = {model.cutting: model.tokenizer for model in self.models.values()}
        size = min([o.perplexity_window, *(m.layout.context for m in self.models.values() if m.layout.context)])
        how = (size, o.perplexity_tokens, stream(self.context.seed, "perplexity"))
        windows, self.held_out = held_out(self.documents, tokenizers, self._labels if asked else None, *how)
        if not self.held_out["windows"]:
            self.context.note(f"{self.context.name}: no perplexity: the {o.split} split's texts are too short")
            return found
        for role, model in self.models.items():
            self._stop()
            row, mine = next(n for n, r in o.models.items() if r.model == role), windows[model.cutting]
            found[row] = measure(mine, model.opened().logprobs, labelled=False)
            if role in asked:
                more = measure(mine, model.opened().logprobs, labelled=True)
                found[row] |= {f"{name}_labelled": ratio for name, ratio in more.items()}
        if len(tokenizers) > 1:
            self.held_out["perplexity_left_out"] = OTHER_TOKENS
            self.context.note(f"{self.context.name}: {OTHER_TOKENS}")
            found = {row: {k: v for k, v in ratios.items() if k in BY_BYTE} for row, ratios in found.items()}
        return found

    def _evaluate(self, rows: Mapping[str, Row], measures: Mapping[str, Measure]) -> dict[str, Any]:
        o = self.options
        how = {"resamples": o.bootstrap, "distinct_bigrams": o.distinct_bigrams, "seed": self.context.seed}
        found = evaluate(rows, measures, pairs=o.pairs, **how)
        for figures in found["models"].values() if "perplexity_left_out" in self.held_out else ():
            for name in BY_BYTE & figures.keys():
                nothing = {"value": None, "low": None, "high": None, "reason": OTHER_TOKENS}
                figures[name.replace("bits_per_byte", "perplexity")] = figures[name] | nothing
        kept = o.model_dump(exclude={"device", "primary"}) | {
            "temperature": o.temperatures[0],
            "seed": self.context.seed,
        }
        kept |= {
            "distinct_bigrams": found.pop("distinct_bigrams"),
            "threshold": self.threshold,
            "held_out": self.held_out,
        }
        found["settings"] = kept | ({"primary": o.primary} if o.primary else {})
        return found


def _suffix(temperatures: Sequence[float], temperature: float) -> str:
    return "" if temperature == temperatures[0] else f"_t{temperature:g}"
