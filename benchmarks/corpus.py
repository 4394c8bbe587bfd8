"""Write a corpus to prepare: JSON lines of real texts, their remixes, and repeats, as large as asked for.

    python benchmarks/corpus.py DIR --data $PENCHANT_DATA --megabytes 200 [--sources] [--even]

Texts are those of the data folder (books, web pages, encyclopedia, reviews, dialogues) and what installed packages say
of themselves; `--sources` adds the packages' Python sources. When they are used up, further documents are remixes:
paragraphs of several texts in another order. One document in twenty repeats an earlier one, one in twenty nearly so.
`--even` leaves blanks at the ends of lines out, as extractors of web text do.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

FILE = 32_000_000  # bytes of one file; at least two are written, so that two processes find work


def texts(data: Path, sources: bool) -> Iterator[str]:
    """Real texts, one a document."""
    for name, column in (
        ("corpus/c4_sample_en", "text"),
        ("corpus/books_en", "text"),
        ("profiles/clothing_reviews_age", "text"),
        ("preferences/hh_harmless_base", "chosen"),
        ("sentiment/airline_tweets", "text"),
        ("summarization/dialogsum_dev", "dialogue"),
    ):
        with gzip.open(data / f"{name}.jsonl.gz", "rt", encoding="utf-8") as handle:
            for line in handle:
                value = json.loads(line).get(column)
                if isinstance(value, str):
                    yield value.replace("\r\n", "\n")
    for name in ("wikipedia_sample_en", "wikitext2_valid", "tinyshakespeare"):
        with gzip.open(data / f"corpus/{name}.txt.gz", "rt", encoding="utf-8") as handle:
            lines = handle.read().split("\n")
        for k in range(0, len(lines), 40):
            yield "\n".join(lines[k : k + 40])
    root = Path(sysconfig.get_paths()["purelib"])
    patterns = ["*.dist-info/METADATA", "*.dist-info/licenses/*", *(["**/*.py"] if sources else [])]
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            if path.is_file() and path.stat().st_size < 1_000_000:
                yield path.read_text(encoding="utf-8", errors="replace")


def documents(data: Path, sources: bool) -> Iterator[str]:
    """Endless: the texts, then remixes of them, with repeats among both."""
    rng = random.Random(0)
    pool: list[str] = []
    kept: list[str] = []

    def repeated(text: str) -> Iterator[str]:
        yield text
        kept.append(text) if len(kept) < 2000 else kept.__setitem__(rng.randrange(2000), text)
        kind = rng.random()
        if kind < 0.05:
            yield rng.choice(kept)
        elif kind < 0.10:
            words = rng.choice(kept).split(" ")
            yield " ".join(word for word in words if rng.random() > 0.01) + f" ({rng.randrange(10**6)})"

    for text in texts(data, sources):
        pool += [part for part in text.split("\n\n") if 40 < len(part) < 4000]
        yield from repeated(text)
    while True:
        yield from repeated("\n\n".join(rng.choices(pool, k=rng.randint(2, 12))))


def main() -> None:
    """Write files of about 32 MB, two at least."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--sources", action="store_true")
    parser.add_argument("--even", action="store_true")
    a = parser.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    written, number, count = 0, 0, 0
    size = min(FILE, a.megabytes * 500_000)
    made = documents(a.data, a.sources)
    while written < a.megabytes * 1_000_000:
        here = 0
        with open(a.folder / f"{number:03}.jsonl", "w", encoding="utf-8") as handle:
            while here < size and written + here < a.megabytes * 1_000_000:
                text = next(made)
                text = re.sub(r"[^\S\n]+(?=\n|\Z)", "", text).strip("\n") if a.even else text
                line = json.dumps({"id": f"d{count}", "text": text}) + "\n"
                count += 1
                here += len(line)
                handle.write(line)
        written, number = written + here, number + 1
    print(f"{count:,} documents, {written / 1e6:,.0f} MB, {number} files in {a.folder}")


if __name__ == "__main__":
    main()
