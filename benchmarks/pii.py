"""How much personal data `penchant.data.pii` finds: precision and recall by type on Presidio's synthetic sentences.

    PENCHANT_DATA=DATA python benchmarks/pii.py [--entities PIPELINE]      # of spaCy: en_core_web_sm, or a folder

A found span is right where it overlaps a marked one of the same type; spans of marked types that nothing looks for
(names, places and dates without a pipeline; ages with one) count as missed. A street's address counts as a place. Other
than by overlap nothing is forgiven: kinds must agree.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from penchant.data.entities import ENTITIES, finder
from penchant.data.pii import Span

# Presidio's types by ours; licences have no check digit and no form that is the same in two states.
TYPES = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "CREDIT_CARD": "card",
    "IBAN_CODE": "iban",
    "US_SSN": "national_id",
    "US_DRIVER_LICENSE": "national_id",
    "IP_ADDRESS": "ip",
}
NAMED = {"PERSON": "person", "GPE": "place", "STREET_ADDRESS": "place", "ORGANIZATION": "organization", "NRP": "group",
         "DATE_TIME": "date"}  # fmt: skip


def measure(path: Path, find: Callable[[str], list[Span]], types: Mapping[str, str]) -> dict[str, Counter[str]]:
    """Per kind (or type): spans `marked`, of these `found`; spans `given` by `find`, of these `right`."""
    counts: dict[str, Counter[str]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            marked = [
                (s["start_position"], s["end_position"], types.get(s["entity_type"], s["entity_type"].lower()))
                for s in row["spans"]
            ]
            given = find(row["full_text"])
            for spans, others, total, hit in ((marked, given, "marked", "found"), (given, marked, "given", "right")):
                for start, end, kind in spans:
                    tally = counts.setdefault(kind, Counter())
                    tally[total] += 1
                    tally[hit] += any(kind == k and start < e and s < end for s, e, k in others)
    return counts


def row(name: str, tally: Counter[str]) -> str:
    """One line of the table."""
    recall = f"{tally['found'] / tally['marked']:.3f}" if tally["marked"] else "-"
    precision = f"{tally['right'] / tally['given']:.3f}" if tally["given"] else "-"
    return f"| {name} | {tally['marked']} | {recall} | {tally['given']} | {precision} |"


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entities", help="a spaCy pipeline, its name or folder")
    parser.add_argument("--kinds", default=",".join(ENTITIES), help="which of its entities count")
    a = parser.parse_args()
    pipeline = a.entities
    types = TYPES | NAMED if pipeline else TYPES
    path = Path(os.environ["PENCHANT_DATA"]) / "safety" / "presidio_synthetic_pii.jsonl.gz"
    counts = measure(path, finder(pipeline, a.kinds.split(",")), types)
    formed = set(TYPES.values())
    print("| type | marked | recall | found | precision |\n| --- | --: | --: | --: | --: |")
    for kind in sorted(counts, key=lambda k: (k not in formed, k)):
        print(row(kind, counts[kind]))
    print(row("**with a form**", sum((c for k, c in counts.items() if k in formed), Counter())))
    print(row("**overall**", sum(counts.values(), Counter())))


if __name__ == "__main__":
    main()
