"""Read raw files, clean, deduplicate, score each segment, split by a stable hash, and write Parquet."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from penchant import registry
from penchant.contracts import Context, Signal, StageContext
from penchant.data import read as reading_
from penchant.data.annotate import annotate, check_constant
from penchant.data.files import find, kind_of
from penchant.data.language import guess_language
from penchant.data.read import Reading, check_rejects
from penchant.data.split import NAMES, part_of, split
from penchant.data.store import write_documents
from penchant.data.summary import data_hash, signal_summary, tally
from penchant.errors import DataRejected, InputError, OptionError, Stopped
from penchant.files import write_json, write_text, writing
from penchant.machine import cores
from penchant.records import Document
from penchant.reports.data import datasheet, rules_page
from penchant.stages._checks import prepare_check as check
from penchant.stages._foresee import signal_entry
from penchant.stages._select import ROW, Selected, select
from penchant.text.segment import LANGUAGES, segment_ends

__all__ = ["INPUTS", "Options", "build_signals", "check", "plan", "run"]

INPUTS = ()

T = TypeVar("T")


class Options(BaseModel):
    """Options of the stage."""

    model_config = ConfigDict(extra="forbid")
    path: str | list[str] = Field(
        "stdlib", description='"stdlib", "packages", a file, folder or glob, or a list of these'
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
    workers: int | None = Field(None, ge=1, description="processes that score; by default one a core")

    @field_validator("fractions")
    @classmethod
    def _shares(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(value) < 0 or not 0 < sum(value) <= 1 + 1e-9:
            raise ValueError("three shares, none negative, at most 1 together")
        return value


def run(options: Options, context: StageContext) -> dict[str, Any]:
    """Write `train.parquet`, `validation.parquet`, `test.parquet`, `rejects.jsonl`, `drops.jsonl`, `summary.json`.

    Beside them `prepare_report.html` (each rule's counts and examples), `README.md` (the datasheet), and `pii.jsonl`
    where masks are reversible.

    Raises:
        InputError: a path, column or option is wrong.
        DataRejected: nothing or too little is usable, too many rows are bad, or a signal is constant.
        MissingExtra: a signal or `repair` needs a library that is not installed.
        Stopped: asked to stop; nothing is kept, the stage starts anew.
    """
    make = functools.partial(build_signals, tuple(json.dumps(spec) for spec in options.signals), context.seed)
    about = _about(options.signals, make())  # fails before the work, not after it
    reading = reading_.read(options.path, options.text_column, options.max_document_bytes)
    _write_rows(context.folder / "rejects.jsonl", [reject.as_json() for reject in reading.rejects])
    check_rejects(reading, options.max_reject_rate)
    _look_for_stop(context)
    selected = select(reading, options)
    documents, drops = selected.documents, selected.drops
    if not documents:
        causes = ", ".join(f"{n} {cause}" for cause, n in tally(d["cause"] for d in drops).items())
        raise DataRejected(
            f"no usable row among {reading.count} ({causes or 'nothing read'})",
            "give data that hold text, or lower data.min_chars",
            file=options.path if isinstance(options.path, str) else ", ".join(options.path),
        )
    languages = _languages(documents, options)
    documents = [_segmented(d, options.segment, lang) for d, lang in zip(documents, languages, strict=True)]
    own = _own_parts(documents, reading, options, context.note)
    parts = own or split([d.source for d in documents], options.fractions)
    _note(context, reading, documents, drops, languages, about)
    documents = annotate(documents, make, options.workers or cores(), progress=lambda done: _look_for_stop(context))
    check_constant(documents)
    by_part = {name: [d for d, part in zip(documents, parts, strict=True) if part == name] for name in NAMES}
    for name, rows in by_part.items():
        write_documents(context.folder / f"{name}.parquet", rows)
    _write_rows(context.folder / "drops.jsonl", drops)
    summary = _summary(options, reading, documents, by_part, drops, languages, about)
    summary |= {"rules": _rules(selected), "pii": options.pii}
    _write_masks(context.folder / "pii.jsonl", selected)
    summary["splits"] = "keep" if own else "hash"
    write_json(context.folder / "summary.json", summary)
    paths = [options.path] if isinstance(options.path, str) else options.path
    write_text(context.folder / "prepare_report.html", rules_page(summary))
    write_text(context.folder / "README.md", datasheet(summary, paths, options.licence))
    return {"documents": summary["documents"], "segments": summary["segments"], "data_hash": summary["data_hash"]}


def plan(options: Options, context: StageContext) -> dict[str, Any]:
    """Files, megabytes and about how many seconds a run would take; reads no file's content."""
    found = find(options.path).sources
    size = sum(source.path.stat().st_size for source in found if source.path.exists())
    per_second = 0.5e6 * (options.workers or cores())
    return {"files": len(found), "megabytes": round(size / 1e6, 1), "seconds": round(2 + size / per_second)}


def build_signals(specs: Sequence[str], seed: int = 0) -> dict[str, Signal]:
    """Signals by the name of their scores, from JSON specs (`"style"` or `{"name": "style", "as": "pep8", ...}`).

    Raises:
        InputError: no such signal.
        OptionError: an option is unknown, has the wrong type, or a name comes twice.
        MissingExtra: its library is not installed.
    """
    made: dict[str, Signal] = {}
    for text in specs:
        label, name, options = signal_entry(json.loads(text))
        module = registry.load("signals", name)
        try:
            chosen = module.Options(**options) if hasattr(module, "Options") else options
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            known = ", ".join(module.Options.model_fields)
            raise OptionError(f"signal {name}: {key}: {first['msg']}", f"its options are {known}") from error
        if label in made:
            raise OptionError(f"two signals write the scores {label!r}", "give one of them another name with `as`")
        made[label] = module.build(chosen, Context(seed=seed))
    return made


def _about(specs: Sequence[str | Mapping[str, Any]], made: Mapping[str, Signal]) -> dict[str, dict[str, Any]]:
    about = {}
    for label, name, options in map(signal_entry, specs):
        module = registry.load("signals", name)
        languages = getattr(module, "LANGUAGES", "any")
        about[label] = {
            "name": name,
            "options": options,
            "range": list(getattr(module, "RANGE", (None, None))),
            "languages": languages if isinstance(languages, str) else list(languages),
            "help": (module.__doc__ or "").strip().partition("\n")[0],
        }
    return about


def _own_parts(
    documents: Sequence[Document], reading: Reading, options: Options, note: Callable[[str], None]
) -> list[str] | None:
    """The part of each document by the name of its file, or None where the hash decides.

    Left to itself, only for files of rows (a folder `test` among sources is code, not a part), and only if every file
    names its part and all three are there.

    Raises:
        InputError: `splits=keep`, and a file names no part, or a part has no file.
    """
    if options.splits == "hash":
        return None
    paths = {row.source: row.path for row in reading.rows}
    rows = [str(d.columns.get(ROW, d.source)) for d in documents]
    parts = {source: part_of(source.partition("#")[0]) for source in rows}
    missing = [name for name in NAMES if name not in parts.values()]
    unnamed = next((source for source, part in parts.items() if part is None), None)
    if options.splits is None:
        if unnamed or any(kind_of(paths[source]) == "text" for source in rows):
            return None
        if missing:
            note(f"no file is named {' or '.join(missing)}: rows of all files are split anew, by a hash")
            return None
        note("the dataset's own train, validation and test are kept; data.splits=hash splits anew")
        return [str(parts[source]) for source in rows]
    if missing or unnamed:
        problem = f"no usable row in a file named {missing[0]}" if missing else "the file's name says no part"
        mend = "name files or folders train, validation and test, or set data.splits=hash"
        raise InputError(problem, mend, file=str(options.path) if missing else paths[str(unnamed)])
    return [str(parts[source]) for source in rows]


def _languages(documents: Sequence[Document], options: Options) -> list[str]:
    return [options.language or guess_language(d.text, d.source) for d in documents]


def _segmented(document: Document, unit: str, language: str) -> Document:
    rules = language if language in LANGUAGES else "en"
    return Document(document.source, document.text, segment_ends(document.text, unit, rules), {}, document.columns)


def _note(
    context: StageContext,
    reading: Reading,
    documents: Sequence[Document],
    drops: Sequence[Mapping[str, Any]],
    languages: Sequence[str],
    about: Mapping[str, Mapping[str, Any]],
) -> None:
    counts = ", ".join(f"{n} {c}" for c, n in tally([d["cause"] for d in drops]).items())
    context.note(f"{len(documents)} documents of {reading.count} rows" + (f" (dropped: {counts})" if counts else ""))
    if reading.rejects:
        counts = ", ".join(f"{n} {c}" for c, n in tally(r.cause for r in reading.rejects).items())
        context.note(f"{len(reading.rejects)} bad rows ({counts}), see {context.folder / 'rejects.jsonl'}")
    common = Counter(languages).most_common(1)[0][0]
    for label, facts in about.items():
        if facts["languages"] != "any" and common not in (*facts["languages"], "und"):
            served = ", ".join(facts["languages"])
            context.note(f"signal {label} serves {served}, but most documents look like {common}")


def _summary(
    options: Options,
    reading: Reading,
    documents: Sequence[Document],
    by_part: Mapping[str, Sequence[Document]],
    drops: Sequence[Mapping[str, Any]],
    languages: Sequence[str],
    about: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    return {
        "documents": {"read": reading.count, "kept": len(documents), **{k: len(v) for k, v in by_part.items()}},
        "segments": {k: sum(len(d.ends) for d in v) for k, v in by_part.items()},
        "characters": {k: sum(len(d.text) for d in v) for k, v in by_part.items()},
        "segment": options.segment,
        "files": reading.files,
        "files_passed_over": reading.passed_over,
        "rejects": tally(reject.cause for reject in reading.rejects),
        "max_reject_rate": options.max_reject_rate,
        "drops": tally(d["cause"] for d in drops),
        "encodings": dict(sorted(reading.encodings.items())),
        "languages": tally(languages),
        "signals": {label: signal_summary(by_part["train"], label, facts) for label, facts in about.items()},
        "data_hash": data_hash(documents),
    }


def _rules(selected: Selected) -> dict[str, dict[str, Any]]:
    """By rule: documents dropped or changed (personal data by kind: values), and examples."""
    counts = {**tally(d["cause"] for d in selected.drops), **dict(sorted(selected.changed.items()))}
    return {
        name: {
            "action": "changed" if name in selected.changed else "dropped",
            "count": count,
            "examples": selected.examples.get(name, []),
        }
        for name, count in counts.items()
    }


def _write_masks(path: Path, selected: Selected) -> None:
    """The values behind reversible masks, for their owner's eyes alone; no file where there are none."""
    if selected.masks:
        path.touch(mode=0o600)
        _write_rows(path, [{"source": source, "values": values} for source, values in selected.masks.items()])
        path.chmod(0o600)


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with writing(path, "w") as handle:
        for row in rows:
            line = json.dumps(row, ensure_ascii=False)
            handle.write(line.encode("utf-8", "replace").decode("utf-8") + "\n")


def _look_for_stop(context: StageContext) -> None:
    if number := context.stop():
        raise Stopped(number)
