"""A knowledge graph on real data: claims told true from false, names found in texts.

    python benchmarks/knowledge.py --data $PENCHANT_DATA/kg            # CoDEx-S, UMLS: minutes
    python benchmarks/knowledge.py --data $PENCHANT_DATA/kg --sets wn18rr_text,fb15k237    # over half an hour each

The store is made from train. CoDEx-S: valid triples against its verified negatives (both files are the test; the
vectors' options are chosen on a tenth of train). Elsewhere each valid triple stands against the same with another tail,
drawn from the tails of its relation, that no file has. AUC: how often a true one scores above a false one. Texts: valid
triples said in words, their names found again (of WN18RR's synsets the lemma); triples of the store and others with
another tail said in words, and judged as any text.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from penchant.knowledge.check import CONTRADICTED, SUPPORTED, Checker
from penchant.knowledge.embed import Embedding, train
from penchant.knowledge.link import Linker
from penchant.knowledge.open import opened
from penchant.knowledge.say import verbalise
from penchant.knowledge.store import Graph, read_pairs
from penchant.metrics.intervals import draws, percentiles

Triple = tuple[str, str, str]


def facts(path: Path) -> list[Triple]:
    """Through the store, as a user's would go."""
    graph = Graph()
    graph.load(path)
    return sorted(graph.triples())


def auc(true: np.ndarray, false: np.ndarray) -> float:
    """P(true > false), ties half; by ranks."""
    both = np.concatenate([true, false])
    order = np.argsort(both, kind="stable")
    ranks = np.empty(len(both))
    ranks[order] = np.arange(1, len(both) + 1)
    _, place = np.unique(both, return_inverse=True)
    means = np.bincount(place, ranks) / np.bincount(place)
    return float((means[place][: len(true)].sum() - len(true) * (len(true) + 1) / 2) / (len(true) * len(false)))


def corrupted(known: Sequence[Triple], every: set[Triple], seed: int = 0) -> list[Triple]:
    """Each triple with another tail of its relation's, that makes no known triple."""
    rng = np.random.default_rng(seed)
    tails = defaultdict(list)
    for _, relation, tail in sorted(every):
        tails[relation].append(tail)
    found = []
    for head, relation, _ in known:
        for _ in range(50):
            tail = tails[relation][int(rng.integers(len(tails[relation])))]
            if (head, relation, tail) not in every:
                found.append((head, relation, tail))
                break
    return found


def vectors(
    known: list[Triple], every: set[Triple], epochs: Sequence[int], rank: int
) -> tuple[Embedding, dict[str, float]]:
    """Vectors whose number of epochs and penalty are chosen on a tenth of train."""
    held = np.random.default_rng(0).random(len(known)) < 0.1
    part, kept = (
        [t for t, h in zip(known, held, strict=True) if not h],
        [t for t, h in zip(known, held, strict=True) if h],
    )
    false = corrupted(kept, every, 1)
    tried = {}
    for n in epochs:
        for penalty in (3e-3, 3e-2):
            model = train(part, rank=rank, epochs=n, penalty=penalty)
            tried[n, penalty] = auc(scores(model, kept), scores(model, false))
    n, penalty = max(tried, key=lambda key: tried[key])
    return train(known, rank=rank, epochs=n, penalty=penalty), {
        "epochs": n,
        "penalty": penalty,
        "validation": tried[n, penalty],
    }


def scores(model: Embedding, triples: Sequence[Triple]) -> np.ndarray:
    return np.nan_to_num(model.score(triples), nan=-20.0)


def table(name: str, known: list[Triple], true: list[Triple], false: list[Triple], types: dict[str, list[str]] | None,
          model: Embedding, chosen: dict[str, float]) -> None:  # fmt: skip
    """A line of figures, and by relation the ones that constraints help with most."""
    check = Checker(known, types)
    verdicts = [[check(*t) for t in part] for part in (true, false)]
    rules = [np.array([v.score for v in part]) for part in verdicts]
    vector = [scores(model, part) for part in (true, false)]
    both = [
        np.where([v.what == CONTRADICTED for v in part], -20.0, x) for part, x in zip(verdicts, vector, strict=True)
    ]
    often = [draws(len(part), 200, seed).astype(int) for seed, part in enumerate((true, false))]

    def figure(x: Sequence[np.ndarray]) -> str:
        drawn = [auc(np.repeat(x[0], a), np.repeat(x[1], b)) for a, b in zip(*often, strict=True)]
        low, high = percentiles(np.array(drawn))
        return f"{auc(*x):.3f} [{low:.3f}, {high:.3f}]"

    wrong = [Counter(v.what for v in part) for part in verdicts]
    said = [wrong[k][CONTRADICTED] / len(part) for k, part in enumerate((true, false))]
    print(f"| {name} | {len(true)} / {len(false)} | {figure(rules)} | {said[1]:.3f} / {said[0]:.3f} "
          f"| {figure(vector)} | {figure(both)} |", flush=True)  # fmt: skip
    why = Counter(v.why for v in verdicts[1] if v.what == CONTRADICTED)
    ones = len(check.functional_relations)
    print(f"<!-- {name}: {chosen}, {ones} functional relations; contradicted by {dict(why)} -->")


def reading(data: Path, folder: Path) -> None:
    """Names found in sentences made from valid triples; stored facts, and others, said in words and judged as texts."""
    columns = ("graph", "sentences", "names found", "of one entity alone", "meant, of what is found",
               "facts: supported", "contradicted", "other tails: supported", "contradicted")  # fmt: skip
    print(f"\n| {' | '.join(columns)} |\n|" + "---|" * len(columns))
    lemmas = folder / "wn18rr.tsv"
    synsets = sorted({x for h, _, t in facts(data / "wn18rr_text_train.tsv.gz") for x in (h, t)})
    lemmas.write_text("".join(f"{s}\t{s.rsplit('.', 2)[0].replace('_', ' ')}\n" for s in synsets), encoding="utf-8")
    for graph, names in (("fb15k237", data / "fb15k237_entity_names.tsv.gz"), ("wn18rr_text", lemmas), ("umls", None)):
        known = opened([str(data / f"{graph}_train.tsv.gz")], names and str(names))
        valid = [t for t in facts(data / f"{graph}_valid.tsv.gz") if {t[0], t[2]} <= known.names.keys()]
        some, found, wanted, right, sure = valid[:: max(1, len(valid) // 1500)], 0, 0, 0, 0
        for (head, _, tail), sentence in zip(some, verbalise(some, known.names), strict=True):
            got = [set(m.entities) for m in known.linker(sentence)]
            wanted, found = wanted + 2, found + len(got)
            right += sum(any(e in own for own in got) for e in (head, tail))
            sure += sum(any({e} == own for own in got) for e in (head, tail))
        stored = known.facts[:: max(1, len(known.facts) // 1500)]
        judged = []
        for part in (stored, corrupted(stored, {*known.facts, *valid})):
            verdicts = [known.consistency(sentence).counts for sentence in verbalise(part, known.names)]
            judged += [np.mean([v[what] > 0 for v in verdicts]) for what in (SUPPORTED, CONTRADICTED)]
        told = (right / wanted, sure / wanted, right / found, *judged)
        print(f"| {graph} | {len(some)} | {' | '.join(f'{value:.3f}' for value in told)} |", flush=True)
    texts = read_pairs(data / "umls_entity_text.tsv.gz")
    umls = Linker([(entity, entity.replace("_", " ")) for entity, _ in texts])
    own = [any(entity in m.entities for m in umls(text)) for entity, text in texts]
    print(f"\nUMLS: {np.mean(own):.3f} of {len(texts)} descriptions name what they describe")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", default="codex_s,umls", help="whose vectors: codex_s, umls, wn18rr_text, fb15k237")
    a = parser.parse_args()
    columns = ("set", "true / false", "AUC, constraints", "contradicted: false / true", "AUC, vectors", "AUC, both")
    print(f"| {' | '.join(columns)} |\n|" + "---|" * len(columns))
    for name in filter(None, a.sets.split(",")):
        known, true = facts(a.data / f"{name}_train.tsv.gz"), facts(a.data / f"{name}_valid.tsv.gz")
        every, types = {*known, *true}, None
        if name == "codex_s":
            false = facts(a.data / "codex_s_valid_negatives.tsv.gz")
            with gzip.open(a.data / "codex_s_entity_types.jsonl.gz", "rt") as lines:
                types = {row["id"]: [kind["id"] for kind in row["types"]] for row in map(json.loads, lines)}
        else:
            false = corrupted(true, every)
        epochs = (10,) if name in ("wn18rr_text", "fb15k237") else (12,)
        table(name, known, true, false, types, *vectors(known, every - set(true), epochs, 48))
    with tempfile.TemporaryDirectory() as folder:
        reading(a.data, Path(folder))


if __name__ == "__main__":
    main()
