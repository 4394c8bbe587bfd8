"""The quickstart over several training seeds, with the rows that tell what helps; writes the tables of docs/results.md.

    python benchmarks/results.py --seeds 0,1,2 --runs runs/results

Beside the quickstart's rows: `mle_tuned` (GRPO from the plain model) and `mle_best_of_8` (of 8 samples of the plain
model, the one with the highest reward). A run that was stopped goes on; finished stages are not run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent.parent
ROWS = ["mle", "conditional", "conditional_none", "conditional_bad", "tuned", "mle_tuned", "mle_best_of_8", "real"]
MEASURES = ["violations_per_line", "style_per_line", "violations_outside_docstring_lines",
            "violations_outside_docstrings", "pep8_alone_per_line", "parse_rate", "docstring_rate", "reward",
            "perplexity", "distinct_2"]  # fmt: skip


def recipe() -> dict[str, Any]:
    """The quickstart with the further rows."""
    text = (HERE / "src/penchant/recipes/quickstart.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    found["name"] = "results"
    stages = found["stages"]
    extra = json.loads(json.dumps(stages["tuned"])) | {"ask": None}
    extra["inputs"]["model"] = "mle"
    evaluate, report = stages.pop("evaluate"), stages.pop("report")
    stages["mle_tuned"] = extra
    evaluate["inputs"]["mle_tuned"] = "mle_tuned"
    evaluate["models"]["mle_tuned"] = {"model": "mle_tuned"}
    evaluate["best_of"] = {"mle_best_of_8": {"of": "mle", "n": 8}}
    stages |= {"evaluate": evaluate, "report": report}
    return found


def run(seed: int, runs: Path) -> dict[str, Any]:
    """One seed's report.json."""
    folder = runs / f"seed-{seed}"
    path = runs / "results.yaml"
    runs.mkdir(parents=True, exist_ok=True)
    path.write_text("# The quickstart with the rows that tell what helps\n" + yaml.safe_dump(recipe(), sort_keys=False))
    subprocess.run(
        [sys.executable, "-m", "penchant", "run", str(path), f"seed={seed}", f"run_dir={folder}"], check=True
    )
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def cell(report: dict[str, Any], row: str, measure: str) -> str:
    """A value with its interval, or a dash."""
    one = report["models"].get(row, {}).get(measure)
    if not one or one["value"] is None:
        return "–"
    low, high = one.get("low"), one.get("high")
    return f"{one['value']:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low is not None else "")


def tables(reports: dict[int, dict[str, Any]]) -> str:
    """Markdown: a table a measure and temperature, rows by seeds; then what was wanted."""
    out = []
    for suffix, title in (("", "temperature 0.7"), ("_t1", "temperature 1")):
        for measure in MEASURES:
            if suffix and measure == "perplexity":
                continue
            out += [f"### {measure}, {title}", "", "| row | " + " | ".join(f"seed {s}" for s in reports) + " |"]
            out.append("|---" * (len(reports) + 1) + "|")
            for row in ROWS:
                name = row if row == "real" else row + suffix
                if any(cell(r, name, measure) != "–" for r in reports.values()):
                    out.append(f"| {row} | " + " | ".join(cell(r, name, measure) for r in reports.values()) + " |")
            out.append("")
    out += ["### Wanted and got", "", "| wanted | " + " | ".join(f"seed {s}" for s in reports) + " | mean | met |"]
    out.append("|---" * (len(reports) + 3) + "|")
    first = next(iter(reports.values()))
    for number, one in enumerate(first["wanted"]):
        got = [r["wanted"][number]["got"] for r in reports.values()]
        limit = one["wanted"]
        if any(g is None for g in got):
            continue
        mean = sum(got) / len(got)
        met = mean >= limit["limit"] if limit["sense"] in (">=", ">", "at least") else mean < limit["limit"]
        cells = " | ".join(f"{g:.3g}" for g in got)
        out.append(f"| {one['what']} ({limit['sense']} {limit['limit']} {limit['unit']}) | {cells} | {mean:.3g} "
                   f"| {'yes' if met else 'no'} |")  # fmt: skip
    return "\n".join(out) + "\n"


def main() -> None:
    """Run the seeds and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--runs", type=Path, default=Path("runs/results"))
    parser.add_argument("--tables", type=Path, help="also write the tables to this file")
    a = parser.parse_args()
    reports = {int(seed): run(int(seed), a.runs) for seed in a.seeds.split(",")}
    text = tables(reports)
    if a.tables:
        a.tables.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
