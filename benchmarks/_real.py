"""What the benchmarks on a real model share: rows that are tuned and measured, kept, and put into a table."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["Row", "arguments", "run"]

Measured = dict[str, float]


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
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--split", default="test", choices=["validation", "test"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--jobs", type=int, default=1, help="rows at once")
    parser.add_argument("--steps-scale", type=float, default=1.0, help="a short try: so many times the steps")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option for every row")
    return parser.parse_args()


def _folder(a: argparse.Namespace, name: str, seed: int) -> Path:
    """The run of a row."""
    return Path(a.runs) / f"{re.sub('[^a-z0-9.]+', '-', name.lower())}-{seed}"


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


def _one(
    a: argparse.Namespace,
    name: str,
    seed: int,
    rows: Mapping[str, Row],
    data: Path,
    measure: Callable[[Path, Path, argparse.Namespace, str], Measured],
) -> None:
    """Tune and measure a row, as far as that has not been done."""
    row, folder = rows[name], _folder(a, name, seed)
    if row.options is not None and not list((folder / "models").glob("*/config.json")):
        words = [f"model={_published(a, row.start, rows, seed)}", f"data={data}", f"run_dir={folder}", f"seed={seed}"]
        words += [f"device={a.device}", *_scaled(row.options, a.steps_scale), *a.set]
        subprocess.run([sys.executable, "-m", "penchant", "tune", *words], check=True, stdout=sys.stderr)
    kept = _kept(a, name, seed)
    if not kept.is_file():
        found = measure(_published(a, name, rows, seed), _published(a, row.start, rows, seed), a, name)
        kept.write_text(json.dumps(found))


def run(
    a: argparse.Namespace,
    rows: Mapping[str, Row],
    data: Path,
    measure: Callable[[Path, Path, argparse.Namespace, str], Measured],
    columns: Sequence[str],
) -> None:
    """Do what is not done yet, and print the table: means over the seeds, with standard errors where there are some.

    Args:
        measure: (a row's model, the model that it began from, arguments, the row's name) -> figures.
        columns: which figures, in order.
    """
    names, seeds = [n.strip() for n in a.rows.split(";") if n.strip()], [int(s) for s in a.seeds.split(",")]
    if a.jobs == 1:
        for seed in seeds:
            for name in names:
                _one(a, name, seed, rows, data, measure)
    else:
        _side_by_side(a, names, seeds, rows)
    print("| row | " + " | ".join(columns) + " |\n|" + "---|" * (len(columns) + 1))
    for name in names:
        found = [json.loads(_kept(a, name, s).read_text()) for s in seeds if _kept(a, name, s).is_file()]
        if found:
            print(f"| {name} | " + " | ".join(_cell([x[c] for x in found]) for c in columns) + " |", flush=True)


def _cell(values: Sequence[float]) -> str:
    told = f"{np.mean(values):.3f}"
    return told if len(values) < 2 else f"{told} ± {np.std(values, ddof=1) / len(values) ** 0.5:.3f}"


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
