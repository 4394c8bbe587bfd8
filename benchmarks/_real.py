"""What the benchmarks on a real model share: rows that are tuned and measured, kept, and put into tables.

A figure is a number, `[value, low, high]`, or None where there is none. What is measured item by item is kept as
`items` (a list of numbers a measure) with `clusters`, so that a row can be compared with the one that it began from.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from penchant.contracts import StageContext
from penchant.metrics.intervals import draws, percentiles
from penchant.stages import examples

__all__ = ["Measured", "Row", "arguments", "interval", "metrics", "read_gzip", "run", "split_rows"]

Measured = dict[str, Any]
Measure = Callable[[Path, Path, argparse.Namespace, str], Measured]


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        options: of `penchant tune`; None where nothing is tuned.
        start: the row whose model it goes on from; None for the model that was given.
    """

    options: tuple[str, ...] | None = None
    start: str | None = None


def arguments(doc: str | None, rows: Mapping[str, Row]) -> argparse.Namespace:
    """The command line that all of them have."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="the folder of data files")
    parser.add_argument("--runs", type=Path, required=True, help="what is finished there is not done again")
    parser.add_argument("--rows", default=";".join(rows), help=f"names with ; between them, of: {'; '.join(rows)}")
    parser.add_argument("--seeds", "--seed", default="0", help="training seeds: 0, or 0,1,2")
    parser.add_argument("--split", default="test", choices=["validation", "test"])
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--jobs", type=int, default=1, help="rows at once")
    parser.add_argument("--steps-scale", type=float, default=1.0, help="a short try: so many times the steps")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option for every row")
    found = parser.parse_args()
    for name in _names(found):
        if name not in rows:
            parser.error(f"no row {name!r}; there are {'; '.join(rows)}")
    return found


def _names(a: argparse.Namespace) -> list[str]:
    return [name.strip() for name in a.rows.split(";") if name.strip()]


def _folder(a: argparse.Namespace, name: str, seed: int) -> Path:
    """The run of a row; a short try is no row."""
    short = "" if a.steps_scale == 1 else f"-x{a.steps_scale:g}"
    return Path(a.runs) / f"{re.sub('[^a-z0-9.]+', '-', name.lower())}-{seed}{short}"


def _published(a: argparse.Namespace, name: str | None, rows: Mapping[str, Row], seed: int) -> Path:
    """A row's model."""
    if name is None or rows[name].options is None:
        return Path(a.model)
    return next((_folder(a, name, seed) / "models").glob("*/config.json")).parent


def _kept(a: argparse.Namespace, name: str, seed: int) -> Path:
    return _folder(a, name, seed).with_name(f"{_folder(a, name, seed).name}-{a.split}.json")


def _scaled(options: Sequence[str], scale: float) -> list[str]:
    """Options with fewer steps."""
    return [
        f"steps={max(2, round(int(o.removeprefix('steps=')) * scale))}" if o.startswith("steps=") else o
        for o in options
    ]


def _one(a: argparse.Namespace, name: str, seed: int, rows: Mapping[str, Row], data: Path, measure: Measure) -> None:
    """Tune and measure a row, as far as that has not been done."""
    row, folder, kept = rows[name], _folder(a, name, seed), _kept(a, name, seed)
    if kept.is_file():
        return
    if row.options is not None and not list((folder / "models").glob("*/config.json")):
        words = [f"model={_published(a, row.start, rows, seed)}", f"data={data}", f"run_dir={folder}", f"seed={seed}"]
        words += [f"device={a.device}", *_scaled(row.options, a.steps_scale), *a.set]
        subprocess.run([sys.executable, "-m", "penchant", "tune", *words], check=True, stdout=sys.stderr)
    found = measure(_published(a, name, rows, seed), _published(a, row.start, rows, seed), a, name)
    kept.write_text(json.dumps(found))


def run(
    a: argparse.Namespace,
    rows: Mapping[str, Row],
    data: Path,
    measure: Measure,
    columns: Sequence[str],
    compared: Sequence[str],
) -> None:
    """Do what is not done yet, and print the table, and what each row gained over the one that it began from.

    Args:
        measure: (a row's model, the model that it began from, arguments, the row's name) -> figures.
        columns: which figures, in order.
        compared: which of the `items`.
    """
    names, seeds = _names(a), [int(s) for s in a.seeds.split(",")]
    wanted = [name for name in rows if name in names or name in {_start(rows, other) for other in names}]
    if a.jobs == 1:
        for seed in seeds:
            for name in wanted:
                _one(a, name, seed, rows, data, measure)
    else:
        _side_by_side(a, wanted, seeds, rows)
    kept = {(n, s): json.loads(path.read_text()) for n in rows for s in seeds if (path := _kept(a, n, s)).is_file()}
    print(_told(a, seeds, max((one["rows"] for one in kept.values()), default=0)))
    print("| row | " + " | ".join(columns) + " |\n|" + "---|" * (len(columns) + 1))
    for name in names:
        found = [kept[name, seed] for seed in seeds if (name, seed) in kept]
        if found:
            print(f"| {name} | " + " | ".join(_cell([x.get(c) for x in found]) for c in columns) + " |", flush=True)
    print("\n| gain of | over | " + " | ".join(compared) + " |\n|" + "---|" * (len(compared) + 2))
    for name in names:
        start = _start(rows, name)
        both = [(kept[start, s], kept[name, s]) for s in seeds if (start, s) in kept and (name, s) in kept]
        gains = [_cell([_gain(before, after, c) for before, after in both]) for c in compared]
        if name != start and any(gains):
            print(f"| {name} | {start} | " + " | ".join(gains) + " |", flush=True)


def _start(rows: Mapping[str, Row], name: str) -> str:
    """The row that a row is compared with: the one that it goes on from, else the first."""
    return rows[name].start or next(iter(rows))


def _told(a: argparse.Namespace, seeds: Sequence[int], count: int) -> str:
    spread = "mean ± standard error over seeds" if len(seeds) > 1 else "95 % bootstrap intervals in brackets"
    return f"{count} rows of {a.split}, training seeds {', '.join(map(str, seeds))}; {spread}\n"


def _cell(figures: Sequence[Any]) -> str:
    """A figure of all seeds; empty where one of them has none."""
    values = [figure[0] if isinstance(figure, list) else figure for figure in figures]
    if not values or any(value is None or not math.isfinite(value) for value in values):
        return ""
    if len(values) > 1:
        return f"{np.mean(values):.3f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.3f}"
    bounds = figures[0][1:] if isinstance(figures[0], list) else []
    return f"{values[0]:.3f}" + (f" [{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds and None not in bounds else "")


def interval(top: Any, clusters: Sequence[Sequence[str]], below: Any = 1.0) -> list[float | None]:
    """[sum(top) / sum(below), low, high] by a bootstrap of clusters.

    Args:
        top, below: [items], or one number for all.
        clusters: ways in which items are grouped, [items] names each. With two ways (the two texts of a pair, which
            stand in other pairs too) names are drawn, and an item counts as often as the product of both says
            (Owen 2007, "The pigeonhole bootstrap").
    """
    top, below = np.broadcast_arrays(np.asarray(top, float), np.asarray(below, float))
    names = {name: i for i, name in enumerate(sorted({name for way in clusters for name in way}))}
    drawn = draws(len(names))
    often = np.prod([drawn[:, [names[name] for name in way]] for way in clusters], axis=0)  # [draws, items]
    if not below.sum():
        return [None, None, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = (often @ top) / (often @ below)
    return [float(top.sum() / below.sum()), *percentiles(ratios)]


def _gain(before: Measured, after: Measured, measure: str) -> list[float | None] | None:
    """The mean of after - before, item by item; None where one of them was not measured so."""
    if not all(measure in one.get("items", {}) for one in (before, after)):
        return None
    return interval(np.subtract(after["items"][measure], before["items"][measure]), after["clusters"])


def read_gzip(path: Path) -> list[dict[str, Any]]:
    """The rows of a `.jsonl.gz`."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def split_rows(runs: Path, parts: Mapping[str, Sequence[Mapping[str, Any]]], **options: Any) -> Path:
    """The folder of rows as the stage `examples` writes them: `train`, and `test` where that is a file of its own."""
    folder = runs / "data"
    if not (folder / "summary.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in parts.items():
            (runs / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        own = {name: str(runs / f"{name}.jsonl") for name in parts if name != "train"}
        chosen = examples.Options(path=str(runs / "train.jsonl"), parts=own, conversational=True, **options)
        examples.run(chosen, StageContext("data", folder, {}, 0, 1, lambda: 0, print))
    return folder


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of the `metrics.jsonl` of a row's tuning, given its model; none for a model that was not tuned here."""
    path = folder.parents[1] / "stages" / folder.name / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _side_by_side(a: argparse.Namespace, names: Sequence[str], seeds: Sequence[int], rows: Mapping[str, Row]) -> None:
    """Each row in a process of its own, after the one that it goes on from; a row that fails is missed in the table."""
    jobs: dict[tuple[str, int], Future[int]] = {}

    def job(name: str, seed: int) -> int:
        before = jobs.get((str(rows[name].start), seed))
        if before is not None and before.result():
            return 1
        words = ["--rows", name, "--seeds", str(seed), "--jobs", "1"]
        log = _folder(a, name, seed).with_suffix(".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as out:
            code = subprocess.run([sys.executable, *sys.argv, *words], stdout=out, stderr=out).returncode
        if code:
            print(f"{name}, seed {seed}: failed, see {log}", file=sys.stderr, flush=True)
        return code

    with ThreadPoolExecutor(a.jobs) as pool:
        for seed in seeds:
            for name in names:  # a row stands after the one it begins from
                jobs[name, seed] = pool.submit(job, name, seed)
