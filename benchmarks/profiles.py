"""Text conditioned on who writes: how far samples carry the asked attribute, against guidance, and at what cost.

    python benchmarks/profiles.py --data $PENCHANT_DATA --runs runs/profiles [--sets clothing,emails,airline]

Three sets with their writers' attributes: clothing reviews (the reviewer's age, and the department that they bought
from as what they like), e-mails made politer (POPQUORN: gender and occupation), tweets to airlines (time zone). Near
duplicates are dropped over a whole set; then it is cut in two by writer, or by text where no writer is named. A small
model is pretrained on one part, led by the attributes; linear classifiers learn each attribute from four fifths of the
other, and what they say of its last fifth is the ceiling. Samples begin from nothing. Perplexity is the model's own of
its samples without any profile. Beside the ceiling: the same judge on real texts cut to the samples' length, and the
model itself as the judge of real texts (under which value's token a text is likeliest). What another attribute does in
the samples where one is asked stands beside what it does in real texts that neither the model nor the judges saw: what
an asked attribute drags along.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from penchant import api
from penchant.contracts import StageContext
from penchant.data.split import position
from penchant.data.store import read_documents
from penchant.metrics.distinct import words
from penchant.metrics.intervals import draws, percentiles
from penchant.policy import Policy
from penchant.runs.executor import execute
from penchant.signals._linear import Linear, fit
from penchant.stages import prepare
from penchant.text.profile import Attribute, values_of

SAMPLES, NEW = 200, 60


@dataclass(frozen=True)
class Set:
    """Where texts come from.

    Attributes:
        attributes: as the tokenizer stage takes them.
        writer: the column that names who wrote; None where there is none.
    """

    file: str
    text: str
    attributes: dict[str, dict]
    steps: int
    writer: str | None = None


SETS = {
    "clothing": Set("profiles/clothing_reviews_age", "text",
                    {"age": {"bands": [35, 50]}, "likes": {"column": "department"}}, 1200),
    "emails": Set("profiles/popquorn_email_rewriting", "rewritten",
                  {"gender": {"most": 2}, "occupation": {"most": 4}}, 300, "user"),
    "airline": Set("sentiment/airline_tweets", "text", {"place": {"column": "user_timezone", "most": 4}}, 600),
}  # fmt: skip


def rows_of(one: Set, data: Path, folder: Path) -> list[dict]:
    """A set's rows as `prepare` leaves them, without near duplicates; the text under `text`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    options = prepare.Options(
        path=str(data / f"{one.file}.jsonl.gz"), text_column=one.text, segment="document", signals=[], splits="hash",
        fractions=(1.0, 0.0, 0.0),
    )  # fmt: skip
    prepare.run(options, StageContext("whole", folder, {}, 0, 1, lambda: 0, print))
    return [{**d.columns, "text": d.text} for d in read_documents(folder / "train.parquet")]


def halves(rows: list[dict], one: Set) -> tuple[list[dict], list[dict]]:
    """The model's rows, and others of the classifiers; no writer on both sides."""
    first = [position(str(row[one.writer or "text"]), "profiles") < 0.6 for row in rows]
    return [r for r, a in zip(rows, first, strict=True) if a], [r for r, a in zip(rows, first, strict=True) if not a]


def value(row: dict, name: str, one: Set) -> str | None:
    """A row's value of an attribute."""
    return next(iter(values_of(row, name, Attribute(**one.attributes[name]))), None)


class Judge:
    """Says which value of an attribute a text carries, each value being as likely beforehand."""

    def __init__(self, rows: list[dict], name: str, one: Set, values: Sequence[str]):
        self.values = list(values)
        mine = [row for row in rows if value(row, name, one) in values]
        held = np.array([position(str(row[one.writer or "text"]), "judge") < 0.2 for row in mine])
        y = np.array([self.values.index(str(value(row, name, one))) for row in mine])
        weights = np.bincount(y[~held], minlength=len(values))
        train = [row["text"] for row, h in zip(mine, held, strict=True) if not h]
        self.model: Linear = fit(train, np.eye(len(values))[y[~held]], self.values, 1.0)
        self.model.bias[:] -= np.log(weights / weights.sum())
        self.real = [row for row, h in zip(mine, held, strict=True) if h]
        self.ceiling = self.told(self(row["text"] for row in self.real), name, one)

    def told(self, said: np.ndarray, name: str, one: Set) -> float:
        """The share of the unseen real texts told right by `said` (int [texts]), each value weighing the same."""
        true = np.array([self.values.index(str(value(row, name, one))) for row in self.real])
        return float(np.mean([(said[true == k] == k).mean() for k in range(len(self.values))]))

    def __call__(self, texts) -> np.ndarray:
        return self.model.probabilities(list(texts)).argmax(1)

    def shares(self, texts) -> str:
        said = self(texts)
        return ", ".join(f"{v} {(said == k).mean():.2f}" for k, v in enumerate(self.values))


def recipe(data: Path, runs: Path, one: Set) -> dict:
    """The pretraining, led by the attributes."""
    size = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4,
            "num_key_value_heads": 2}  # fmt: skip
    group = {"group_column": one.writer} if one.writer else {}
    return {
        "name": "profiles",
        "run_dir": str(runs / "run"),
        "stages": {
            "prepare": {
                "kind": "prepare", "path": str(data), "segment": "document", "signals": ["readability"], **group
            },
            "tokenizer": {"kind": "tokenizer", "inputs": {"data": "prepare"}, "attributes": one.attributes},
            "model": {
                "kind": "pretrain",
                "inputs": {"data": "prepare", "tokenizer": "tokenizer"},
                "objective": {"name": "profile", "attributes": one.attributes},
                "steps": one.steps, "batch_size": 16, "context": 128, "model": size, "eval_steps": 100,
                "save_steps": 200,
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


def likeliest(policy: Policy, texts: Sequence[str], name: str, values: Sequence[str]) -> np.ndarray:
    """Under which value's token each text's first NEW tokens are likeliest, a value being as likely beforehand."""
    found = [[row[:NEW].sum() for row in policy.logprobs(texts, profile=[f"{name}={v}"])] for v in values]
    return np.array(found).argmax(0)


def distinct(texts: list[str]) -> float:
    """Different bigrams among the first 3,000."""
    grams = [pair for text in texts for pair in zip(words(text), words(text)[1:], strict=False)][:3000]
    return len(set(grams)) / max(1, len(grams))


def attribute(name: str, one: Set, policy: Policy, judges: dict[str, Judge]) -> None:
    """The table of one attribute, and what asking for it does to the others."""
    judge = judges[name]
    print(f"\n**{name}**: judge right for {judge.ceiling:.3f} of {len(judge.real)} unseen real texts, each value "
          f"weighing the same (chance {1 / len(judge.values):.3f})\n")  # fmt: skip
    columns = ("asked", "guidance", "judged to be it", "perplexity, unasked", "distinct-2")
    print(f"| {' | '.join(columns)} |\n|" + "---|" * len(columns))
    dragged = []
    for guidance in (None, 1.0, 2.0, 4.0):
        right, texts = [], []
        for k, wanted in enumerate(judge.values):
            made = sampled(policy, [] if guidance is None else [f"{name}={wanted}"], guidance, k)
            right += (judge(made) == k).tolist()
            texts += made
            real = [row["text"] for row in judge.real if value(row, name, one) == wanted]
            for other in judges.keys() - {name} if guidance in (1.0, 4.0) else ():
                dragged.append((wanted, f"guidance {guidance:g}", other, judges[other].shares(made)))
                if guidance == 1.0:
                    dragged.append((wanted, "real texts", other, judges[other].shares(real)))
        asked = "nothing" if guidance is None else "each value"
        strength = "" if guidance is None else f"{guidance:g}"
        print(f"| {asked} | {strength} | {figure(np.array(right, float))} | {perplexity(policy, texts):.2f} "
              f"| {distinct(texts):.3f} |", flush=True)  # fmt: skip
    real = [row["text"][:300] for row in judge.real][:600]
    print(f"| real texts | | {judge.ceiling:.3f} | {perplexity(policy, real):.2f} | {distinct(real):.3f} |")
    whole = [row["text"] for row in judge.real]
    cut = [policy.tokenizer.decode(policy.tokenizer.encode(text)[:NEW]) for text in whole]
    print(f"\nof real texts' first {NEW} tokens the judge tells {judge.told(judge(cut), name, one):.3f}, "
          f"the model itself {judge.told(likeliest(policy, whole, name, judge.values), name, one):.3f}")  # fmt: skip
    plain = sampled(policy, [], None, 9)
    print(
        f"\nasked for nothing, judged {judge.shares(plain)}; real texts {judge.shares(r['text'] for r in judge.real)}"
    )
    if dragged:
        print("\n| asked | in | what else they are judged to be |\n|---|---|---|")
        for wanted, where, _, told in sorted(dragged):
            print(f"| {wanted} | {where} | {told} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--steps-scale", type=float, default=1.0, help="a short try: so many times the steps")
    a = parser.parse_args()
    for which in a.sets.split(","):
        one, runs = SETS[which], a.runs / which
        one = Set(one.file, one.text, one.attributes, max(2, round(one.steps * a.steps_scale)), one.writer)
        runs.mkdir(parents=True, exist_ok=True)
        rows = rows_of(one, a.data, runs / "whole")
        mine, others = halves(rows, one)
        (runs / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in mine), encoding="utf-8")
        run = execute(api.resolved(recipe(runs / "texts.jsonl", runs, one)))
        policy = api.load(run.models["model"])
        print(
            f"\n## {which}: {len(mine)} texts of the model, {len(others)} of the judges, {one.steps} steps", flush=True
        )
        known = policy.layout.profile
        judges = {
            name: Judge(others, name, one, sorted(t.partition("=")[2] for t in known if t.startswith(f"{name}=")))
            for name in one.attributes
        }
        for name in one.attributes:
            attribute(name, one, policy, judges)


if __name__ == "__main__":
    main()
