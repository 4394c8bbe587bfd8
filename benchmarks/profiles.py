"""Text conditioned on who writes: how far samples carry the asked attribute, against guidance, and at what cost.

    python benchmarks/profiles.py --data $PENCHANT_DATA --runs runs/profiles

Clothing reviews with the reviewer's age in three bands. Reviews are cut in two by a hash of their text (near-duplicates
are dropped by `prepare` within the first half): a small model is pretrained on one half, led by the age; a linear
classifier learns the age from the other half, of other reviews, and its accuracy on real reviews is the ceiling.
Samples begin from nothing. Perplexity is the model's own of its samples without any profile; `department` (which the
model is never told) is judged by another classifier, so that what an asked age drags along can be seen beside what it
drags along in real reviews.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path

import numpy as np

from penchant import api
from penchant.data.split import position
from penchant.metrics.distinct import words
from penchant.metrics.intervals import draws, percentiles
from penchant.policy import Policy
from penchant.runs.executor import execute
from penchant.signals._linear import Linear, fit
from penchant.text.profile import Attribute, values_of

AGE = {"bands": [35, 50]}
SAMPLES, NEW = 200, 60


def halves(path: Path) -> tuple[list[dict], list[dict]]:
    """Reviews of the model, and others of the classifiers."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["text"]]
    first = [position(row["text"], "profiles") < 0.6 for row in rows]
    return [r for r, a in zip(rows, first, strict=True) if a], [r for r, a in zip(rows, first, strict=True) if not a]


def band(row: dict) -> str:
    return values_of(row, "age", Attribute(**AGE))[0]


def classifier(rows: list[dict], label, labels: list[str]) -> tuple[Linear, float, np.ndarray]:
    """Fit on 80 %, its accuracy on the rest with each label weighing the same, and the confusion of the rest."""
    held = np.array([position(row["text"], "judge") < 0.2 for row in rows])
    y = np.array([labels.index(label(row)) for row in rows])
    texts = [row["text"] for row in rows]
    weights = np.bincount(y[~held], minlength=len(labels))
    targets = np.eye(len(labels))[y]
    model = fit([t for t, h in zip(texts, held, strict=True) if not h], targets[~held], labels, 1.0)
    p = model.probabilities([t for t, h in zip(texts, held, strict=True) if h]) / weights  # each label as likely
    said = p.argmax(1)
    joint = np.array([[(said[y[held] == a] == b).mean() for b in range(len(labels))] for a in range(len(labels))])
    model.bias[:] -= np.log(weights / weights.sum())
    return model, float(joint.diagonal().mean()), joint


def recipe(data: Path, runs: Path) -> dict:
    """The pretraining, led by the age."""
    attributes = {"age": AGE}
    size = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4,
            "num_key_value_heads": 2}  # fmt: skip
    return {
        "name": "profiles",
        "run_dir": str(runs / "run"),
        "stages": {
            "prepare": {"kind": "prepare", "path": str(data), "segment": "document", "signals": ["readability"]},
            "tokenizer": {"kind": "tokenizer", "inputs": {"data": "prepare"}, "attributes": attributes},
            "model": {
                "kind": "pretrain",
                "inputs": {"data": "prepare", "tokenizer": "tokenizer"},
                "objective": {"name": "profile", "attributes": attributes},
                "steps": 1200, "batch_size": 16, "context": 128, "model": size, "eval_steps": 200, "save_steps": 400,
            },
        },
    }  # fmt: skip


def figure(values: np.ndarray) -> str:
    low, high = percentiles(draws(len(values)) @ values / len(values))
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


def sampled(policy: Policy, profile: list[str], guidance: float | None, seed: int) -> list[str]:
    more = {} if guidance is None else {"guidance": guidance}
    return policy.generate([""] * SAMPLES, max_new_tokens=NEW, temperature=0.8, profile=profile, seed=seed, **more)


def perplexity(policy: Policy, texts: list[str]) -> float:
    """By token of all texts, without a profile."""
    found = policy.logprobs([text for text in texts if text.strip()])
    return float(np.exp(-np.concatenate(found).mean()))


def distinct(texts: list[str]) -> float:
    """Different bigrams among the first 3,000."""
    grams = [pair for text in texts for pair in zip(words(text), words(text)[1:], strict=False)][:3000]
    return len(set(grams)) / max(1, len(grams))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    a = parser.parse_args()
    a.runs.mkdir(parents=True, exist_ok=True)
    mine, others = halves(a.data / "profiles" / "clothing_reviews_age.jsonl.gz")
    path = a.runs / "reviews.jsonl"
    if not path.is_file():
        path.write_text("".join(json.dumps(row) + "\n" for row in mine), encoding="utf-8")
    run = execute(api.resolved(recipe(path, a.runs)))
    policy = api.load(run.models["model"])
    bands = sorted({band(row) for row in others}, key=lambda x: (not x.startswith("<"), x))
    known = sorted({row["department"] for row in others if row["department"]})
    judge, ceiling, joint = classifier(others, band, bands)
    rooms, room_accuracy, _ = classifier([r for r in others if r["department"]], lambda r: r["department"], known)
    print(
        f"age judge: accuracy {ceiling:.3f} on real reviews, each band weighing the same (chance {1 / len(bands):.3f})"
    )
    print(f"department judge: accuracy {room_accuracy:.3f}, of {len(known)}\n")
    columns = ("asked", "guidance", "judged to be it", "perplexity, unasked", "distinct-2")
    print(f"| {' | '.join(columns)} |\n|" + "---|" * len(columns))
    shares = {}
    real = {one: [r["text"] for r in others if band(r) == one] for one in bands}
    for guidance in (None, 1.0, 2.0, 4.0):
        right, texts = [], []
        for k, one in enumerate(bands):
            made = sampled(policy, [] if guidance is None else [f"age={one}"], guidance, k)
            right += (judge.probabilities(made).argmax(1) == k).tolist()
            texts += made
            shares[guidance, one] = np.bincount(rooms.probabilities(made).argmax(1), minlength=len(known)) / len(made)
        asked = "nothing" if guidance is None else "each band"
        strength = "" if guidance is None else f"{guidance:g}"
        print(f"| {asked} | {strength} | {figure(np.array(right, float))} | {perplexity(policy, texts):.2f} "
              f"| {distinct(texts):.3f} |", flush=True)  # fmt: skip
    some = [text[:300] for texts in real.values() for text in texts[:200]]
    cells = (f"{joint.diagonal().mean():.3f}", f"{perplexity(policy, some):.2f}", f"{distinct(some):.3f}")
    print(f"| real reviews | | {' | '.join(cells)} |\n")
    plain = judge.probabilities(sampled(policy, [], None, 9)).argmax(1)
    truth = judge.probabilities([r["text"] for r in others]).argmax(1)
    rows = [np.bincount(x, minlength=len(bands)) / len(x) for x in (plain, truth)]
    print(
        "asked for nothing, judged "
        + ", ".join(f"{b} {p:.2f} (real reviews {q:.2f})" for b, p, q in zip(bands, *rows, strict=True))
    )
    print("\n| asked | " + " | ".join(known) + " |\n|" + "---|" * (len(known) + 1))
    for one in bands:
        given = np.bincount(rooms.probabilities(real[one]).argmax(1), minlength=len(known)) / len(real[one])
        for name, values in (
            (f"{one}, real reviews", given),
            (f"{one}, guidance 1", shares[1.0, one]),
            (f"{one}, guidance 4", shares[4.0, one]),
        ):
            print(f"| {name} | " + " | ".join(f"{x:.2f}" for x in values) + " |")


if __name__ == "__main__":
    main()
