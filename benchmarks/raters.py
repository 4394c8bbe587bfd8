"""Several raters: methods against majority vote, held-out votes of pairs, and what soft labels gain over hard ones.

    python benchmarks/raters.py --data $PENCHANT_DATA

Crowds: accuracy on the items whose truth is known. Pairs (UKP arguments): a fifth of all votes is kept back, at random,
and predicted from the others. Soft labels (ConvAbuse; its dev file is the test): a linear classifier learns from each
kind of label, with penalty and temperature chosen on validation by the same kind; what is measured on test is the
cross-entropy to the raters' own distribution.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from pathlib import Path

import numpy as np

from penchant.contracts import Context
from penchant.data.split import position
from penchant.metrics.intervals import draws, percentiles
from penchant.plugins import plug
from penchant.raters.read import Layout, Rated, read_votes
from penchant.raters.report import against_truth
from penchant.raters.votes import Votes
from penchant.signals._linear import fit
from penchant.stages._classifier import STRENGTHS, Texts, cross_entropy, temperature

METHODS = ("majority", "dawid_skene", "glad", "mace")
ABUSE = {"-3": "1", "-2": "1", "-1": "1", "0": "0", "1": "0"}


def crowds(data: Path) -> None:
    """Accuracy of each method on each crowd set."""
    print("| set | items, raters, votes | " + " | ".join(METHODS) + " |\n|" + "---|" * (len(METHODS) + 2))
    for name in ("dog", "rte", "tweet_sentiment", "web_relevance"):
        votes = read_votes(str(data / f"{name}_labels.tsv.gz"), Layout()).votes
        with gzip.open(data / f"{name}_truth.tsv.gz", "rt") as lines:
            truth = {row["item"]: row["label"] for row in csv.DictReader(lines, delimiter="\t")}
        cells = []
        for method in METHODS:
            found = against_truth(votes, plug("raters", {"name": method}, Context(0))(votes).probability, truth)
            cells.append(f"{found['accuracy']:.3f} [{found['low']:.3f}, {found['high']:.3f}], {found['log_loss']:.2f}")
        size = f"{len(votes.items)}, {len(votes.raters)}, {len(votes.label)}"
        print(f"| {name} | {size} | " + " | ".join(cells) + " |", flush=True)


def pairs(data: Path) -> None:
    """Held-out votes on pairs of arguments."""
    layout = Layout(pair=("a1", "a2"), choices=("a1", "a2", "equal"))
    votes = read_votes(str(data / "ukp_convarg1_pairs.jsonl.gz"), layout).votes
    kept = np.random.default_rng(0).random(len(votes.label)) < 0.8
    kept |= ~np.isin(votes.item, votes.item[kept])  # an item keeps one vote at least
    part = Votes(
        votes.items, votes.raters, votes.labels, votes.item[kept], votes.rater[kept], votes.label[kept], votes.pairs
    )
    item, label = votes.item[~kept], votes.label[~kept]
    print("\n| held-out votes of pairs | log-loss | accuracy |\n|---|---|---|")
    for name, entry in {
        "the same for all": None,
        "share of votes, one added to each": {"name": "majority", "smoothing": 1.0},
        "Dawid-Skene": {"name": "dawid_skene"},
        "Bradley-Terry, all raters alike": {"name": "bradley_terry", "reliability": 0.999, "reliability_spread": 1e-3},
        "Bradley-Terry with reliability": {"name": "bradley_terry"},
    }.items():
        if entry is None:
            p = np.tile(np.bincount(part.label, minlength=3) / len(part.label), (len(votes.items), 1))
        else:
            p = plug("raters", entry, Context(0))(part).probability
        nll = -np.log(np.clip(p[item, label], 1e-6, 1))
        often = draws(len(nll))
        low, high = percentiles(often @ nll / often.sum(1))
        print(
            f"| {name} | {nll.mean():.4f} [{low:.4f}, {high:.4f}] | {(p[item].argmax(1) == label).mean():.3f} |",
            flush=True,
        )


def soft(data: Path) -> None:
    """Cross-entropy to the raters' distribution on test, by the kind of label that was learned from."""
    layout = Layout(values=ABUSE)
    train, test = (read_votes(str(data / f"convabuse_{name}.jsonl.gz"), layout) for name in ("train", "dev"))
    target = plug("raters", {"name": "majority"}, Context(0))(test.votes).probability
    asked = _texts(test)
    held = np.array([position(one, "soft labels") < 0.15 for one in _texts(train)])
    overlap = np.isin(_texts(train), asked)
    share = plug("raters", {"name": "majority"}, Context(0))(train.votes).probability
    kinds = {
        "majority label": np.eye(2)[share.argmax(1)],
        "share of votes": share,
        "Dawid-Skene": plug("raters", {"name": "dawid_skene"}, Context(0))(train.votes).probability,
    }
    print(
        f"\n| learned from | cross-entropy on {len(asked)} texts | gain over the first | accuracy |\n|---|---|---|---|"
    )
    first = None
    often = draws(len(asked))
    for name, targets in kinds.items():
        parts = {
            part: Texts([one for one, take in zip(_texts(train), mask, strict=True) if take], targets[mask], {})
            for part, mask in (("train", ~held & ~overlap), ("validation", held & ~overlap))
        }
        tried = [fit(parts["train"].texts, parts["train"].targets, train.votes.labels, c) for c in STRENGTHS]
        loss = [cross_entropy(m.probabilities(parts["validation"].texts), parts["validation"].targets) for m in tried]
        model = tried[int(np.argmin(loss))]
        logs = np.log(np.clip(model.probabilities(asked), 1e-9, 1)) / temperature(model, parts["validation"])
        p = np.exp(logs) / np.exp(logs).sum(1, keepdims=True)
        each = -(target * np.log(np.clip(p, 1e-6, 1))).sum(1)
        first = each if first is None else first
        spans = [percentiles(often @ x / often.sum(1)) for x in (each, first - each)]
        right = (p.argmax(1) == target.argmax(1)).mean()
        told = [
            f"{x.mean():.4f} [{low:.4f}, {high:.4f}]"
            for x, (low, high) in zip((each, first - each), spans, strict=True)
        ]
        print(f"| {name} | {told[0]} | {told[1]} | {right:.3f} |", flush=True)


def _texts(rated: Rated) -> list[str]:
    return [f"{rated.rows[item]['agent']}\n{rated.rows[item]['user']}" for item in rated.votes.items]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    folder = parser.parse_args().data
    crowds(folder / "crowd")
    pairs(folder / "preferences")
    soft(folder / "crowd")
