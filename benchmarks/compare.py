"""`penchant bench` beside `benchmarks/peer.py`, in turn, so that a drift of the machine hits both.

    python benchmarks/compare.py MODEL_DIR [WORK ...] [--peer-python PYTHON] [--rounds 3] [--steps 4] [--dtype bfloat16]

Prints a JSON line a work: the ratio of the median seconds a step (above 1: Penchant is faster), the peak memory of both
and the share of the machine's own matrix-product rate (6 x parameters x tokens for training, 2 x for generation and for
a reference, for grpo and dpo both). Look at the load of the machine first.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def line_of(command: list[str]) -> dict[str, Any]:
    """The last JSON line that a command prints."""
    done = subprocess.run(command, capture_output=True, text=True)
    rows = [row for row in done.stdout.splitlines() if row.startswith("{")]
    if done.returncode or not rows:
        sys.exit(f"{' '.join(command)} failed ({done.returncode}):\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(rows[-1])
    return found


def share(row: dict[str, Any], seconds: float, limits: dict[str, Any], parameters: int) -> float:
    """Of the model's own product rate on this machine, with all threads."""
    kind = "decoding" if row["work"] == "generate" else "training"
    factor = {"generate": 2, "sft": 6, "grpo": 8, "dpo": 8}[row["work"]]
    key = f"{kind}_{row['dtype']}_gflop_s_{limits['threads']}"
    rate = max(limits[key], limits.get(f"{key}_apart", 0.0)) * 1e9
    return float(factor * parameters * row["tokens"] / seconds / rate)


def main() -> None:
    """Run the rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("work", nargs="*", default=["generate", "grpo", "dpo", "sft"])
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    a = parser.parse_args()
    from penchant.models.config import DecoderConfig

    parameters = DecoderConfig.from_folder(Path(a.model)).parameters()
    ours = [sys.executable, "-m", "penchant", "bench"]
    print(f"load {os.getloadavg()[0]:.2f}", file=sys.stderr)
    limits = line_of([*ours, "limits", a.model, "--json"])
    for work in a.work:
        tail = [work, a.model, "--dtype", a.dtype, "--steps", str(a.steps)]
        runs: dict[str, list[dict[str, Any]]] = {"peer": [], "penchant": []}
        for _ in range(a.rounds):
            runs["peer"].append(line_of([a.peer_python, str(HERE / "peer.py"), *tail]))
            runs["penchant"].append(line_of([*ours, *tail, "--json"]))
        seconds = {side: statistics.median(s for run in rows for s in run["seconds"]) for side, rows in runs.items()}
        memory = {side: max(run["peak_rss_mb"] for run in rows) for side, rows in runs.items()}
        row = runs["penchant"][0]
        found = {"work": work, "model": row["model"], "dtype": a.dtype}
        found |= {"ratio": round(seconds["peer"] / seconds["penchant"], 2)}
        for side in runs:
            found[f"share_{side}"] = round(share(row, seconds[side], limits, parameters), 3)
        found |= {"memory_ratio": round(memory["penchant"] / memory["peer"], 2), "peak_rss_mb": memory}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
