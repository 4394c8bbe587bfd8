"""Read rows of prompts, answers or preferences in any common format; split them with no prompt on two sides."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field, field_validator

from penchant.contracts import StageContext
from penchant.data.examples import Rows, read_rows, write_examples
from penchant.data.split import NAMES, split
from penchant.errors import DataRejected, InputError
from penchant.files import stable_hash, write_json, writing
from penchant.records import Example

__all__ = ["INPUTS", "Options", "run"]

INPUTS = ()
QUICK = True  # a preflight may make it, to look at what comes of it
_MENDS = {
    "missing column": "name them with columns={prompt: NAME, completion: NAME}",
    "missing prompt": "give each row a prompt",
    "empty answer": "leave such rows out",
    "no preference": "leave such rows out, or mend what chose them",
}


class Options(BaseModel, extra="forbid"):
    """Options of the stage."""

    path: str | list[str] = Field(description="a file, folder or glob of .jsonl, .csv, .parquet, or a saved dataset")
    columns: dict[str, str] = Field(
        {}, description="TRL's name -> the data's own: {prompt: question, completion: answer}"
    )
    templates: dict[str, str] = Field(
        {}, description='columns made of others: {prompt: "Is this positive or negative? {text}", completion: "{word}"}'
    )
    values: dict[str, dict[str, Any]] = Field(
        {}, description="columns made of another's values: {word: {column: label, '0': negative, '1': positive}}"
    )
    conversational: bool = Field(False, description="plain prompts and answers become messages of user and assistant")
    group_column: str | None = Field(None, description="rows with the same value stay in one part (else: same prompt)")
    fractions: tuple[float, float, float] = Field((0.88, 0.045, 0.075), description="train, validation, test")
    parts: dict[str, str] = Field({}, description="files of their own: {validation: FILE, test: FILE}; path is train")
    max_reject_rate: float = Field(0.01, ge=0, le=1, description="share of unusable rows that stops the run")
    max_rows: int | None = Field(None, ge=3, description="at most this many, the first ones")

    @field_validator("parts")
    @classmethod
    def _parts(cls, value: dict[str, str]) -> dict[str, str]:
        if set(value) - {"validation", "test"}:
            raise ValueError("the parts are validation and test")
        return value


def run(options: Options, context: StageContext) -> dict[str, Any]:
    """Write `train.parquet`, `validation.parquet`, `test.parquet`, `rejects.jsonl` and `summary.json`.

    Raises:
        InputError: a path or column is wrong.
        DataRejected: nothing is usable, too many rows are not, or they are of several formats.
    """
    found = _read(options.path, options)
    rejects = list(found.rejects)
    by_part: dict[str, list[Example]] = {name: [] for name in NAMES} | _split(
        found.examples[: options.max_rows], options
    )
    for part, path in options.parts.items():
        own = _read(path, options)
        rejects += own.rejects
        by_part[part] = own.examples
        found.formats += own.formats
    with writing(context.folder / "rejects.jsonl", "w") as handle:
        handle.writelines(json.dumps(reject) + "\n" for reject in rejects)
    if rejects:
        counts = ", ".join(f"{n} {cause}" for cause, n in Counter(r["cause"] for r in rejects).most_common())
        context.note(f"{len(rejects)} unusable rows ({counts}), see {context.folder / 'rejects.jsonl'}")
    if len(found.formats) > 1:
        counts = ", ".join(f"{n} {kind}" for kind, n in found.formats.most_common())
        raise DataRejected(f"rows are of several formats ({counts})", "give rows of one")
    for part, examples in by_part.items():
        write_examples(context.folder / f"{part}.parquet", examples)
    kind = next(iter(found.formats))
    columns = sorted({name for examples in by_part.values() for example in examples for name in example.columns})
    summary = {
        "kind": "examples",
        "format": kind,
        "columns": columns,
        "rows": {part: len(examples) for part, examples in by_part.items()},
        "rejects": dict(Counter(r["cause"] for r in rejects)),
        "segment": "document",
        "data_hash": stable_hash([[e.source, json.dumps(dict(e.columns), default=str)] for e in by_part["train"]]),
    }
    write_json(context.folder / "summary.json", summary)
    context.note(f"{kind}: " + ", ".join(f"{len(examples)} {part}" for part, examples in by_part.items()))
    return {"format": kind, "rows": summary["rows"], "rejects": summary["rejects"]}


def _read(path: str | list[str], options: Options) -> Rows:
    found = read_rows(path, lambda row: _prepared(row, options))
    count = len(found.examples) + len(found.rejects)
    if not found.examples or len(found.rejects) > options.max_reject_rate * count:
        first: dict[str, Any] = (
            found.rejects[0] if found.rejects else {"cause": "no rows", "detail": "the file is empty", "row": None}
        )
        counts = ", ".join(f"{n} {cause}" for cause, n in Counter(r["cause"] for r in found.rejects).items())
        mend = _MENDS.get(first["cause"], "mend the row")
        raise DataRejected(
            f"{first['cause']} ({first['detail']}); {len(found.rejects)} of {count} rows are unusable ({counts})",
            f"{mend}, or raise data.max_reject_rate" if found.examples else mend,
            file=path if isinstance(path, str) else ", ".join(path),
            row=first["row"],
        )
    return found


def _prepared(row: Mapping[str, Any], options: Options) -> dict[str, Any]:
    """A row with the columns that options make."""
    made = dict(row)
    for name, own in options.columns.items():
        if own not in row:
            raise InputError(f"no column {own!r} for {name}", f"the columns are {', '.join(map(str, row))}")
        made[name] = row[own]
    for name, table in options.values.items():
        value = str(made.get(str(table["column"])))
        if value not in table:
            raise InputError(f"values.{name} has no entry for {value!r}", "add it")
        made[name] = table[value]
    for name, text in options.templates.items():
        try:
            made[name] = text.format_map(made)
        except (KeyError, ValueError, IndexError) as error:
            mend = f"the columns are {', '.join(map(str, made))}"
            raise InputError(f"templates.{name} names {error}, which a row does not have", mend) from error
    if options.conversational:
        for name, role in (
            ("prompt", "user"),
            ("completion", "assistant"),
            ("chosen", "assistant"),
            ("rejected", "assistant"),
        ):
            if isinstance(made.get(name), str):
                made[name] = [{"role": role, "content": made[name]}]
    return made


def _split(examples: list[Example], options: Options) -> dict[str, list[Example]]:
    """Rows by part; where files of their own are given, the others are cut from `path`."""
    keys = [_key(example, options.group_column) for example in examples]
    train, validation, test = options.fractions
    if "test" in options.parts:
        validation, test = validation + (0 if "validation" in options.parts else test), 0.0
    if "validation" in options.parts and "test" in options.parts:
        return {"train": examples}
    found = split(keys, (train, validation, test))
    if "test" in options.parts:
        found = ["validation" if part == "test" else part for part in found]
    return {part: [e for e, own in zip(examples, found, strict=True) if own == part] for part in NAMES}


def _key(example: Example, column: str | None) -> str:
    if column is not None:
        if column not in example.columns:
            raise InputError(f"no column {column!r} to group by", f"the columns are {', '.join(example.columns)}")
        return str(example.columns[column])
    prompt = example.columns.get("prompt")
    return example.source if prompt is None else json.dumps(prompt)
