"""`penchant prepare` beside datatrove: the same files, rules and processes; seconds, and which documents each keeps.

    python benchmarks/corpus.py corpus --data $PENCHANT_DATA --megabytes 64
    python benchmarks/prepare.py corpus --peer PYTHON_WITH_DATATROVE --work DIR [--rounds 2]
    python benchmarks/prepare.py corpus --work DIR          # our side alone: seconds, and memory at its highest

The rules: Gopher's quality and repetition filters, FineWeb's (thresholds and ends of lines as in its paper), then
near duplicates by MinHash. Both sides read JSON lines and write what stays, with two processes. datatrove has its own
14 bands of 8 rows, which aim at texts that are 75 % alike (Penedo et al. 2024, section 3.4), splits words by spaces as
we do (`--spacy`: by spaCy, as it does if nothing is said), and keeps one of each cluster of what shares a band; we
compare the texts of what shares one of 32 bands of 4 rows, for 75 % too. The rounds alternate.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PEER = """
import sys
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers.jsonl import JsonlWriter
from datatrove.utils.word_tokenizers import WordTokenizer

class Spaces(WordTokenizer):
    def __init__(self): super().__init__("en")
    def word_tokenize(self, text): return text.split()
    def sent_tokenize(self, text): return text.split(". ")
    def span_tokenize(self, text): raise NotImplementedError

source, work, spacy = sys.argv[1], sys.argv[2], sys.argv[3] == "spacy"
words = "eng" if spacy else Spaces()
config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
WORKERS = 2

def run(pipeline, tasks):
    LocalPipelineExecutor(pipeline=pipeline, tasks=tasks, workers=min(tasks, WORKERS)).run()

if __name__ == "__main__":
    import glob
    tasks = len(glob.glob(source + "/*.jsonl"))
    fineweb = FineWebQualityFilter(char_duplicates_ratio=0.1, new_line_ratio=1e9, language=words,
                                   stop_chars=(".", "!", "?", '"', "”", "'", "’"))
    run([JsonlReader(source), GopherQualityFilter(language=words), GopherRepetitionFilter(language=words), fineweb,
         JsonlWriter(work + "/filtered", output_filename="${rank}.jsonl", compression=None)], tasks)
    run([JsonlReader(work + "/filtered"), MinhashDedupSignature(work + "/signatures", config=config, language=words)],
        tasks)
    run([MinhashDedupBuckets(work + "/signatures", work + "/buckets", config=config)], config.num_buckets)
    run([MinhashDedupCluster(work + "/buckets", work + "/remove", config=config)], 1)
    run([JsonlReader(work + "/filtered"), MinhashDedupFilter(work + "/remove"),
         JsonlWriter(work + "/kept", output_filename="${rank}.jsonl", compression=None)], tasks)
"""

OURS = """
import sys
from pathlib import Path
from penchant.contracts import StageContext
from penchant.stages import prepare

if __name__ == "__main__":
    options = prepare.Options(path=sys.argv[1], rules=["gopher_quality", "gopher_repetition", "fineweb"], signals=[],
                              near_duplicates=0.75, segment="document", language="en", splits="hash", workers=2)
    folder = Path(sys.argv[2])
    folder.mkdir()
    prepare.run(options, StageContext("prepare", folder, {}, 0, 1, lambda: 0, print))
"""


ALONE = """
import json, os, sys, threading, time
from pathlib import Path
from penchant.contracts import StageContext
from penchant.stages import prepare

highest = {}

def own(pid):
    rows = dict(line.split(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return {name: int(rows[key].split()[0]) // 1000 for name, key in (("own", "RssAnon"), ("with_files", "VmHWM"))}

def watch():
    me = os.getpid()
    while True:
        children = Path(f"/proc/{me}/task/{me}/children").read_text().split()
        for kind, pid in [("stage", me), *(("worker", int(child)) for child in children)]:
            try:
                for name, value in own(pid).items():
                    highest[f"{kind}_{name}_mb"] = max(value, highest.get(f"{kind}_{name}_mb", 0))
            except (OSError, KeyError):
                pass  # it has ended
        time.sleep(0.02)

if __name__ == "__main__":
    threading.Thread(target=watch, daemon=True).start()
    options = prepare.Options(path=sys.argv[1], rules=["gopher_quality", "fineweb"], signals=["repetition"],
                              segment="document", language="en", splits="hash", workers=2)
    folder = Path(sys.argv[2])
    folder.mkdir()
    prepare.run(options, StageContext("prepare", folder, {}, 0, 1, lambda: 0, print))
    (folder / "memory.json").write_text(json.dumps(highest))
"""


def timed(python: str, code: str, corpus: Path, work: Path, *more: str) -> float:
    """Seconds of a script from begin to end, its imports included."""
    shutil.rmtree(work, ignore_errors=True)
    script = work.with_suffix(".py")
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(code)
    began = time.perf_counter()
    # In the script's folder: datatrove leaves logs where it is run.
    done = subprocess.run(
        [python, str(script), str(corpus), str(work), *more], capture_output=True, text=True, cwd=script.parent
    )
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return time.perf_counter() - began


def kept_by_us(work: Path) -> dict[str, str]:
    """Id -> text."""
    import pyarrow.parquet as pq

    tables = [pq.read_table(work / f"{part}.parquet") for part in ("train", "validation", "test")]
    return {i: t for table in tables for i, t in zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True)}


def kept_by_peer(work: Path) -> dict[str, str]:
    """Id -> text."""
    return {row["id"]: row["text"] for row in rows_of(work / "kept")}


def rows_of(folder: Path) -> list[dict[str, str]]:
    """The rows of all files of JSON lines."""
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text("utf-8").split("\n")]
    return [json.loads(line) for line in lines if line]


def rules_of(work: Path, corpus: Path) -> set[str]:
    """Ids of the documents that passed our rules, repeats among them."""
    drops = map(json.loads, (work / "drops.jsonl").read_text("utf-8").split("\n")[:-1])
    gone = {drop["source"] for drop in drops if "duplicate" not in drop["cause"]}
    named = {
        f"{path.name}#{k}": json.loads(line)["id"]
        for path in sorted(corpus.glob("*.jsonl"))
        for k, line in enumerate(path.read_text("utf-8").split("\n")[:-1], 1)
    }
    return {one for source, one in named.items() if source not in gone}


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--peer")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--spacy", action="store_true")
    a = parser.parse_args()
    count = sum(path.read_bytes().count(b"\n") for path in a.corpus.glob("*.jsonl"))
    megabytes = sum(path.stat().st_size for path in a.corpus.glob("*.jsonl")) / 1e6
    told: dict[str, Any] = {"documents": count, "megabytes": round(megabytes, 1)}
    told |= compared(a, count, megabytes) if a.peer else alone(a)
    print(json.dumps(told))


def alone(a: argparse.Namespace) -> dict[str, Any]:
    """Our side: seconds and memory."""
    work = a.work.resolve() / "alone"
    seconds = timed(sys.executable, ALONE, a.corpus.resolve(), work)
    return {"seconds": round(seconds, 1), **json.loads((work / "memory.json").read_text())}


def compared(a: argparse.Namespace, count: int, megabytes: float) -> dict[str, Any]:
    """Both sides in turn: seconds and agreement."""
    kind = "spacy" if a.spacy else "spaces"
    peer, ours = [], []
    for _ in range(a.rounds):
        peer.append(timed(a.peer, PEER, a.corpus.resolve(), a.work.resolve() / "peer", kind))
        ours.append(timed(sys.executable, OURS, a.corpus.resolve(), a.work.resolve() / "ours"))
    mine, theirs = kept_by_us(a.work / "ours"), kept_by_peer(a.work / "peer")
    differ = len(mine.keys() ^ theirs.keys())
    ruled = rules_of(a.work / "ours", a.corpus)
    passed = {row["id"] for row in rows_of(a.work / "peer" / "filtered")}
    times = [statistics.median(side) for side in (peer, ours)]
    return {
        "words": kind,
        "peer_seconds": [round(s, 1) for s in peer], "seconds": [round(s, 1) for s in ours],
        "ratio": round(times[0] / times[1], 2), "megabytes_a_second": round(megabytes / times[1], 2),
        "kept": len(mine), "kept_by_peer": len(theirs), "decided_alike": round(1 - differ / count, 4),
        "rules_decided_alike": round(1 - len(ruled ^ passed) / count, 4),
    }  # fmt: skip


if __name__ == "__main__":
    main()
