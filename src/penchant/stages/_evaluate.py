"""The work of the stage `evaluate`: prompts, completions, judgements, perplexities, figures."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penchant import console
from penchant.contracts import Measure, Spot, StageContext, Task
from penchant.data.examples import is_examples, read_examples
from penchant.data.store import read_documents
from penchant.errors import DataRejected, InputError, Stopped
from penchant.evaluation.completions import Sampling, Written, real, sample, stored
from penchant.evaluation.evaluate import Ratio, Row, evaluate
from penchant.evaluation.judging import judge_all, write_samples
from penchant.evaluation.machine import Evaluated, Machine
from penchant.evaluation.perplexity import held_out, measure
from penchant.evaluation.prompts import choose_spots, prompts_by_way
from penchant.evaluation.rows import answer_windows, row_prompts
from penchant.files import read_json, stable_hash, write_json
from penchant.plugins import build_context
from penchant.records import Document, Example, Prompt
from penchant.runtime.random import stream
from penchant.stages.evaluate import for_rows
from penchant.text.control import Bins
from penchant.text.prompts import make_prompt
from penchant.text.template import Template

if TYPE_CHECKING:
    from penchant.stages.evaluate import Options, RowOptions

__all__ = ["Evaluation"]

BY_BYTE = {"bits_per_byte", "bits_per_byte_labelled"}
OTHER_TOKENS = (
    "the models cut text into different tokens, so their perplexities by token cannot be compared and are left out; "
    "compare bits a byte"
)


@dataclass
class Evaluation:
    """One run of the stage."""

    options: Options
    context: StageContext
    open_model: Callable[[Path, str], Machine]
    bins: dict[str, Bins] = field(default_factory=dict)  # of each model that is asked for a control token
    documents: list[Document] = field(default_factory=list)
    examples: list[Example] | None = None  # rows of prompts and answers instead
    cached: dict[tuple[Bins, int], list[str]] = field(default_factory=dict)
    held_out: dict[str, Any] = field(default_factory=dict)  # what is to be said of the perplexities

    def run(self) -> dict[str, Any]:
        data = self.context.inputs["data"]
        summary = read_json(data / "summary.json") if (data / "summary.json").is_file() else {}
        if rows_of := is_examples(summary):
            self.options = for_rows(self.options)
        o = self.options
        self._check_rows()
        segment = summary.get("segment", "line")
        self.models = {
            role: self._model(role, segment) for role in dict.fromkeys(row.model for row in o.models.values())
        }
        self._check_asks(segment)
        path = data / f"{o.split}.parquet"
        if rows_of:
            self.examples = read_examples(path)
        else:
            self.documents = read_documents(path)
        if not (self.examples or self.documents):
            raise DataRejected(f"the {o.split} split is empty", "give more data, or another split=", file=path)
        self.bins = {
            row.model: self.models[row.model].layout.marks(o.signal, o.threshold, summary)
            for row in o.models.values()
            if row.ask is not None
        }
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

    def _labels(self, role: str, document: Document) -> list[str]:
        # By the object: several documents may come from one source.
        key = (self.bins[role], id(document))
        if key not in self.cached:
            self.cached[key] = self.bins[role].of(document)
        return self.cached[key]

    def _prompts(self, task: Task) -> dict[str, list[Prompt]]:
        """The prompts of each row of `models`: the same places, control tokens as the row asks."""
        o = self.options
        if self.examples is not None:
            templates = [Template(self.models[row.model].tokenizer) for row in o.models.values()]
            made, long = row_prompts(self.examples, templates, o.prompt_tokens, o.prompts, self.context.seed)
            if long:
                told = f"{long} prompts of more than {o.prompt_tokens} tokens are left out"
                self.context.note(f"{self.context.name}: {told} (prompt_tokens=)")
            return dict(zip(o.models, made, strict=True))

        def way(row: RowOptions) -> Callable[[Document, Spot], Prompt | None]:
            def make(document: Document, spot: Spot) -> Prompt | None:
                given = None if row.ask is None else self._labels(row.model, document)
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
        first = next(iter(o.models))
        if o.real and all("reference" in prompt.columns for prompt in prompts[first]):
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
        # A window is laid out once for all models that cut text alike, and once more for other control tokens.
        ways = {role: self.models[role].cutting + ",".join(bins.names) for role, bins in self.bins.items()}
        for role, model in self.models.items():
            same = (way for asked, way in ways.items() if self.models[asked].cutting == model.cutting)
            ways.setdefault(role, next(same, model.cutting))
        tokenizers = {ways[role]: model.tokenizer for role, model in self.models.items()}
        tokenizers |= {ways[role]: self.models[role].tokenizer for role in self.bins}
        told = {ways[role]: functools.partial(self._labels, role) for role in self.bins}
        size = min([o.perplexity_window, *(m.layout.context for m in self.models.values() if m.layout.context)])
        if self.examples is not None:
            size = max(o.perplexity_window, o.prompt_tokens + o.max_new_tokens)
            how = (size, o.perplexity_tokens, self.context.seed)
            windows, self.held_out = answer_windows(self.examples, tokenizers, *how)
        else:
            chance = stream(self.context.seed, "perplexity")
            windows, self.held_out = held_out(self.documents, tokenizers, told, size, o.perplexity_tokens, chance)
        if not self.held_out["windows"]:
            self.context.note(f"{self.context.name}: no perplexity: the {o.split} split's texts are too short")
            return found
        for role, model in self.models.items():
            self._stop()
            row, mine = next(n for n, r in o.models.items() if r.model == role), windows[ways[role]]
            found[row] = measure(mine, model.opened().logprobs, labelled=False)
            if role in self.bins:
                more = measure(mine, model.opened().logprobs, labelled=True)
                found[row] |= {f"{name}_labelled": ratio for name, ratio in more.items()}
        if len({model.cutting for model in self.models.values()}) > 1:
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
            "threshold": next((b.edges[0][0] for b in self.bins.values() if len(b.names) == 2), 0.0),
            "held_out": self.held_out,
        }
        found["settings"] = kept | ({"primary": o.primary} if o.primary else {})
        return found


def _suffix(temperatures: Sequence[float], temperature: float) -> str:
    return "" if temperature == temperatures[0] else f"_t{temperature:g}"
