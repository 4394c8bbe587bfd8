"""Seconds a token of `penchant bench sft` at four batch sizes and four lengths: whether cost is linear in tokens.

    python benchmarks/growth.py models/m30 [--steps 4] [--dtype bfloat16] [--device cpu]

The lengths are at 16,384 tokens a step, the batch sizes at 256 tokens a row; the points come in turn, twice.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

POINTS = [(rows, 256) for rows in (16, 32, 64, 128)] + [(16_384 // n, n) for n in (64, 256, 512, 1024)]


def main() -> None:
    """Print a table; the last column is against 64 rows of 256 tokens."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--steps", default="4")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--device", default="cpu")
    a = parser.parse_args()
    seconds: dict[tuple[int, int], list[float]] = {}
    for _ in range(2):
        for rows, length in dict.fromkeys(POINTS):
            command = [
                sys.executable,
                "-m",
                "penchant",
                "bench",
                "sft",
                a.model,
                "--dtype",
                a.dtype,
                "--device",
                a.device,
            ]
            command += ["--steps", a.steps, "--rows", str(rows), "--length", str(length), "--json"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            seconds.setdefault((rows, length), []).extend(json.loads(done.stdout.splitlines()[-1])["seconds"])
    each = {point: statistics.median(found) / (point[0] * point[1]) for point, found in seconds.items()}
    print("| rows | tokens a row | s a step | microseconds a token | against 64 x 256 |\n|---|---|---|---|---|")
    for rows, length in POINTS:
        token = each[rows, length]
        print(f"| {rows} | {length} | {token * rows * length:.2f} | {token * 1e6:.1f} | {token / each[64, 256]:.2f} |")


if __name__ == "__main__":
    main()
