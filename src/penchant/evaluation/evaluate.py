"""From judged completions and log-probs to `evaluation.json`: figures with intervals by source file, paired tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from penchant.contracts import Judgement, Measure
from penchant.metrics import distinct
from penchant.metrics.intervals import Difference, paired_ratio_difference, ratio_interval

__all__ = ["MEASURES", "PAIRS", "Ratio", "Row", "evaluate", "present_pairs"]

# What every evaluation adds to the measures of its task.
MEASURES = {
    "distinct_2": Measure("share of different ones among a fixed number of word bigrams", "higher"),
    "perplexity": Measure("perplexity by token of held-out text, no control token given", "lower"),
    "perplexity_labelled": Measure("the same with the true control tokens given", "lower"),
    "bits_per_byte": Measure("bits a byte of held-out text, no control token given", "lower"),
    "bits_per_byte_labelled": Measure("the same with the true control tokens given", "lower"),
}
# Which rows are compared (each with each temperature's suffix), where both are there.
PAIRS = (
    ("mle", "conditional"),
    ("conditional", "tuned"),
    ("mle", "tuned"),
    ("conditional", "conditional_bad"),
    ("conditional", "conditional_none"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Ratio:
    """A figure that is made of sums: `transform(sum(num) / sum(den))`, items [n] with the file of each."""

    num: Sequence[float] | np.ndarray
    den: Sequence[float] | np.ndarray
    sources: Sequence[str]
    transform: Callable[[np.ndarray], np.ndarray] | None = None

    def difference(self, other: Ratio, resamples: int, seed: int) -> Difference:
        """`other - self`, paired by file."""
        a, b = (self.num, self.den, self.sources), (other.num, other.den, other.sources)
        return paired_ratio_difference(a, b, resamples=resamples, seed=seed, transform=self.transform)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One way of writing completions, judged: parallel lists, one entry a completion; and figures of another kind."""

    sources: list[str]
    judgements: list[Judgement]
    extra: Mapping[str, Ratio] = field(default_factory=dict)

    def ratios(self) -> dict[str, Ratio]:
        """Every figure but distinct-2."""
        found = {}
        for name in self.judgements[0].measures if self.judgements else ():
            parts = np.array([judgement.measures[name] for judgement in self.judgements], float)  # [completions, 2]
            found[name] = Ratio(parts[:, 0], parts[:, 1], self.sources)
        return {**found, **self.extra}


def evaluate(
    rows: Mapping[str, Row],
    measures: Mapping[str, Measure],
    *,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    resamples: int = 1000,
    distinct_bigrams: int = 5000,
    seed: int = 0,
) -> dict[str, Any]:
    """The content of `evaluation.json` without its settings.

    Args:
        measures: what the task's measures mean.
        pairs: rows to compare; those that are not there are left out.
        distinct_bigrams: bigrams that distinct-2 looks at, the same number in all rows; at most half of what the row
            with the fewest has, so that half of its files still have as many.
    """
    how = {"resamples": resamples, "seed": seed}
    ratios = {name: row.ratios() for name, row in rows.items()}
    texts = [[j.text for j in row.judgements] for row in rows.values()]
    grams = dict(zip(rows, distinct.NGrams.of(texts, [row.sources for row in rows.values()]), strict=True))
    size = min([distinct_bigrams, *(g.available // 2 for g in grams.values() if g.available > 1)])
    models: dict[str, dict[str, Any]] = {}
    for name, figures in ratios.items():
        models[name] = {
            measure: ratio_interval(
                f.num, f.den, f.sources, transform=f.transform, resamples=resamples, seed=seed
            ).json()
            for measure, f in figures.items()
        }
        # A row with fewer bigrams than the others are cut to says so by its own size.
        own = {"size": min(size, grams[name].available)}
        models[name]["distinct_2"] = distinct.interval(grams[name], size, **how).json() | own
    paired = []
    for a, b in present_pairs(pairs, list(rows)):
        tests = {m: ratios[a][m].difference(ratios[b][m], resamples, seed) for m in ratios[a] if m in ratios[b]}
        tests["distinct_2"] = distinct.difference(grams[a], grams[b], size, **how)
        paired += [_paired(a, b, measure, test) for measure, test in tests.items()]
    used = {measure for figures in models.values() for measure in figures}
    told = {n: {"help": m.help, "better": m.better} for n, m in {**measures, **MEASURES}.items() if n in used}
    return {"models": models, "paired": paired, "measures": told, "distinct_bigrams": size}


def present_pairs(pairs: Sequence[tuple[str, str]], rows: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs of which both rows are there, and the same with each suffix (`_t1`) that rows have."""
    suffixes = ["", *dict.fromkeys(name[name.rindex("_t") :] for name in rows if "_t" in name and name[-1].isdigit())]
    found = [(a + suffix, b + suffix) for suffix in suffixes for a, b in pairs]
    return [(a, b) for a, b in found if a in rows and b in rows]


def _paired(a: str, b: str, measure: str, test: Difference) -> dict[str, Any]:
    figures = {"difference": test.difference, "low": test.low, "high": test.high, "p": test.p}
    return {"a": a, "b": b, "measure": measure, **figures}
