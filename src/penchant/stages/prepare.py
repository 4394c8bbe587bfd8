"""Read raw files, clean, deduplicate, score each segment, split by a stable hash, and write Parquet."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from penchant import __version__
from penchant.contracts import StageContext
from penchant.data.entities import Entity
from penchant.data.files import Found as FilesFound
from penchant.data.files import find, size_of
from penchant.data.parallel import Processes, Workers
from penchant.data.work import Work
from penchant.errors import DataRejected, InputError
from penchant.files import stable_hash, write_json, write_text, writing
from penchant.machine import cores
from penchant.reports.data import datasheet, rules_page
from penchant.stages._checks import prepare_check as check
from penchant.stages._gather import CLEANED, Gathered
from penchant.stages._passes import clean_all, json_line, note_counts, note_languages, score_all, tell
from penchant.stages._select import Found
from penchant.stages._signals import about, build_signals, with_folders
from penchant.stages._steps import Steps

__all__ = ["INPUTS", "Options", "build_signals", "check", "plan", "run"]

INPUTS = (...,)  # a role a signal that a stage before has trained

_WORTH_A_PROCESS = 1_000_000  # bytes of input; starting a process costs about half a second


class Options(BaseModel):
    """Options of the stage."""

    model_config = ConfigDict(extra="forbid")
    path: str | list[str] = Field(
        "stdlib",
        description='"stdlib", "packages", a file, folder or glob, hf:OWNER/NAME[:CONFIG][#SPLIT], or a list of these',
    )
    text_column: str = Field("text", description="which column holds the text")
    group_column: str | None = Field(None, description="rows with the same value stay in one part (else: by source)")
    licence: str | None = Field(None, description="what the sources may be used for, as the datasheet shall say")
    reply_column: str | None = Field(
        None,
        description="names the row that a row replies to; a thread stays in one part, unless group_column is given",
    )
    id_column: str = Field("id", description="what reply_column names rows by")
    segment: Literal["line", "sentence", "document"] = Field("line", description="what a signal scores")
    language: str | None = Field(
        None, pattern="^[a-z]{2,3}$", description="ISO code for sentence rules; guessed where not given"
    )
    signals: list[str | dict[str, Any]] = Field(["style"], description="names, or {name, as, ...options}")
    min_chars: int = Field(1, ge=0, description="shorter texts are dropped")
    repair: bool = Field(False, description="repair wrongly decoded prose with ftfy")
    spaces: bool = Field(False, description="even out white space of prose: no trailing blanks, one empty line at most")
    languages: list[Annotated[str, Field(pattern="^[a-z]{2,3}$")]] = Field(
        [], description="ISO codes; texts in others are dropped (py3langid)"
    )
    rules: list[Literal["gopher_quality", "gopher_repetition", "c4", "fineweb"]] = Field(
        [], description="quality rules for English web text; what fails one is dropped"
    )
    pii: Literal["mask", "reversible", "drop"] | None = Field(
        None,
        description="personal data that have a form: masked, masked with the values in pii.jsonl, or the text dropped",
    )
    entities: str | None = Field(
        None,
        description="a spaCy pipeline (a name or folder) that finds names and places as personal data too; with pii",
    )
    entity_kinds: list[Entity] = Field(["person", "place"], min_length=1, description="which of its entities count")
    decontaminate: str | list[str] | None = Field(
        None, description="evaluation texts (paths as in path); what shares a run of words with one is dropped"
    )
    decontaminate_words: int = Field(13, ge=1, description="words in such a run")
    near_duplicates: float | None = Field(0.8, gt=0, le=1, description="Jaccard similarity; null: exact only")
    splits: Literal["keep", "hash"] | None = Field(
        None, description="keep a dataset's own train, validation and test files; null: where it has all three"
    )
    fractions: tuple[float, float, float] = Field((0.88, 0.045, 0.075), description="train, validation, test")
    max_reject_rate: float = Field(0.01, ge=0, le=1, description="share of bad rows that stops the run")
    max_document_bytes: int = Field(5_000_000, ge=1, description="a longer text is a bad row")
    max_documents: int | None = Field(None, ge=3, description="at most this many, chosen by a hash of their source")
    workers: int | None = Field(None, ge=1, description="processes that work; by default one a core")
    cluster: str | None = Field(
        None, description='work on a Ray cluster instead: its address, or "auto" for the one that runs here'
    )

    @model_validator(mode="after")
    def _entities_are_used(self) -> Options:
        if self.entities is not None and self.pii is None:
            raise ValueError("entities are personal data: say what is done about them, pii=mask, reversible or drop")
        return self

    @field_validator("fractions")
    @classmethod
    def _shares(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(value) < 0 or not 0 < sum(value) <= 1 + 1e-9:
            raise ValueError("three shares, none negative, at most 1 together")
        return value


def run(options: Options, context: StageContext) -> dict[str, Any]:
    """Write `train.parquet`, `validation.parquet`, `test.parquet`, `rejects.jsonl`, `drops.jsonl`, `summary.json`.

    Beside them `prepare_report.html` (each rule's counts and examples), `README.md` (the datasheet), and `pii.jsonl`
    where masks are reversible. Rows are read once and go through in pieces, so memory does not grow with the corpus but
    for less than 200 bytes a document; pieces that are finished lie in `work/` until all are, so that a run that was
    stopped goes on from them. What is written is the same for any number of workers.

    Raises:
        InputError: a path, column or option is wrong.
        DataRejected: nothing or too little is usable, too many rows are bad, or a signal is constant.
        MissingExtra: a signal or `repair` needs a library that is not installed.
        Stopped: asked to stop; what is finished is kept.
    """
    signals: list[Any] = [with_folders(spec, context.inputs) for spec in options.signals]
    make = functools.partial(Steps, options.model_copy(update={"signals": signals}), context.seed)
    here = make()  # a wrong signal or rule fails before the work, not after it
    found = find(options.path)
    work = Work(context.folder / "work", _identity(options, found, context))
    workers = _workers(options, found, make, here)
    try:
        with work.removed_on(InputError, DataRejected):
            result = _prepare(options, context, found, work, workers)
    finally:
        workers.close()
    work.remove()
    return result


def _prepare(
    options: Options, context: StageContext, found: FilesFound, work: Work, workers: Workers
) -> dict[str, Any]:
    read = clean_all(options, context, found, work, workers)
    gathered = Gathered(work, read.pieces, options)
    gathered.check_columns()
    gathered.deduplicate(workers, lambda done, total: tell(context, done, total, "comparing texts"))
    gathered.limit()
    shown = Found(examples=read.examples)
    drops = Counter[str]()
    with writing(context.folder / "drops.jsonl", "w") as handle:
        for drop in gathered.dropped(shown):
            drops[drop["cause"]] += 1
            handle.write(json_line(drop))
    if not gathered.stays.any():
        causes = ", ".join(f"{n} {cause}" for cause, n in sorted(drops.items()))
        raise DataRejected(
            f"no usable row among {read.count} ({causes or 'nothing read'})",
            "give data that hold text, or lower data.min_chars",
            file=options.path if isinstance(options.path, str) else ", ".join(options.path),
        )
    threads = gathered.threads()
    parts, own = gathered.parts(threads, context.note)
    note_counts(context, read, int(gathered.stays.sum()), drops)
    scored = score_all(options, context, gathered, threads, parts, workers)
    note_languages(context, scored.languages, about(options.signals))
    summary = {
        **scored.summary(about(options.signals)),
        "documents": {"read": read.count, "kept": int(gathered.stays.sum()), **scored.documents},
        "segment": options.segment,
        "files": len(found.sources),
        "files_passed_over": found.passed_over,
        "rejects": dict(sorted(read.causes.items())),
        "max_reject_rate": options.max_reject_rate,
        "drops": dict(sorted(drops.items())),
        "encodings": dict(sorted(read.encodings.items())),
        "rules": _rules(drops, read.changed, shown.examples),
        "pii": options.pii,
        "entities": options.entity_kinds if options.entities else [],
        "splits": "keep" if own else "hash",
    }
    _write_masks(context.folder / "pii.jsonl", work, read.pieces)
    write_json(context.folder / "summary.json", summary)
    paths = [options.path] if isinstance(options.path, str) else options.path
    write_text(context.folder / "prepare_report.html", rules_page(summary))
    write_text(context.folder / "README.md", datasheet(summary, paths, options.licence))
    return {"documents": summary["documents"], "segments": summary["segments"], "data_hash": summary["data_hash"]}


def plan(options: Options, context: StageContext) -> dict[str, Any]:
    """Files, megabytes and about how many seconds a run would take; reads no file's content."""
    found = find(options.path).sources
    size = sum(size_of(source.path) for source in found)
    per_second = 0.5e6 * (options.workers or cores())
    return {"files": len(found), "megabytes": round(size / 1e6, 1), "seconds": round(2 + size / per_second)}


def _identity(options: Options, found: FilesFound, context: StageContext) -> dict[str, Any]:
    """What finished pieces depend on: the options but for who works, and the files and signals as they are."""
    chosen = options.model_dump(mode="json", exclude={"workers", "cluster"})
    files = [(s.name, s.kind, size_of(s.path), _changed(s.path)) for s in found.sources]
    files += [(role, path.name, size_of(path), _changed(path)) for role, folder in sorted(context.inputs.items())
              for path in sorted(folder.iterdir())]  # fmt: skip
    return {"version": __version__, "options": chosen, "seed": context.seed, "files": stable_hash(files)}


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _workers(options: Options, found: FilesFound, make: Callable[[], Steps], here: Steps) -> Workers:
    if options.cluster is not None:
        from penchant.runtime.cluster import Cluster

        return Cluster(make, options.cluster)
    if any(source.kind == "hub" for source in found.sources):  # as large as it may be
        return Processes(make, options.workers or cores(), here)
    size = sum(size_of(source.path) for source in found.sources)
    return Processes(make, min(options.workers or cores(), 1 + size // _WORTH_A_PROCESS), here)


def _rules(
    drops: Mapping[str, int], changed: Mapping[str, int], examples: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """By rule: documents dropped or changed (personal data by kind: values), and examples."""
    counts = {**dict(sorted(drops.items())), **dict(sorted(changed.items()))}
    return {
        name: {"action": "changed" if name in changed else "dropped", "count": n, "examples": examples.get(name, [])}
        for name, n in counts.items()
    }


def _write_masks(path: Path, work: Work, pieces: int) -> None:
    """The values behind reversible masks, for their owner's eyes alone; no file where there are none."""
    rows = (item for facts in work.all_facts(CLEANED, pieces) for item in facts["masks"].items())
    if (first := next(rows, None)) is None:
        return
    path.touch(mode=0o600)
    with writing(path, "w") as handle:
        for source, values in chain([first], rows):
            handle.write(json_line({"source": source, "values": values}))
    path.chmod(0o600)
