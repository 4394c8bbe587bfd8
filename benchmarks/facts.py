"""A small model that is told facts beside one that is not: how much of what each states does a knowledge graph support?

    python benchmarks/facts.py --data $PENCHANT_DATA/kg --runs runs/facts

FB15k-237's train triples, by name. A document says who it is about and states a few of that entity's facts in
sentences; the conditioned model's documents list more of them first, as "relation: name;". Entities are cut in two by a
hash: the models never saw the ones that they are asked about. Each is asked to state facts of the same entities: the
plain model, the conditioned one with the entity's facts, and the conditioned one with those of another entity, which
says whether it reads them. Claims are found and judged by `penchant.knowledge`, as the signal `knowledge` does; what
the graph does not hold is unknown, not false. Intervals draw entities.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from penchant import api
from penchant.data.split import position
from penchant.knowledge.check import CONTRADICTED, SUPPORTED, UNKNOWN
from penchant.knowledge.open import Knowledge, opened
from penchant.knowledge.say import phrase, verbalise
from penchant.metrics.intervals import draws, percentiles
from penchant.policy import Policy
from penchant.runs.executor import execute
from penchant.runtime.random import stream

Triple = tuple[str, str, str]
TOLD, SAID = 8, 4  # facts listed, and stated
ASKED, NEW = 300, 96


def facts_of(known: Knowledge) -> dict[str, list[Triple]]:
    """By entity; of those with two facts at least, with names of at most 30 characters."""
    found = defaultdict(list)
    for head, relation, tail in known.facts:
        if all(0 < len(known.names.get(x, "")) <= 30 for x in (head, tail)):
            found[head].append((head, relation, tail))
    return {head: own for head, own in sorted(found.items()) if len(own) >= 2}


def listed(own: Sequence[Triple], known: Knowledge) -> str:
    """Facts as a list, as the conditioned model is told them."""
    return " ".join(f"{phrase(r)}: {known.names[t]};" for _, r, t in own)


def head_of(entity: str, known: Knowledge) -> str:
    return f"About {known.names[entity]}.\n"


def documents(facts: dict[str, list[Triple]], known: Knowledge, told: bool) -> list[dict[str, str]]:
    """A document an entity."""
    rows = []
    for number, (entity, own) in enumerate(facts.items()):
        order = stream(0, "facts", number).permutation(len(own))[:TOLD]
        chosen = [own[i] for i in order]
        known_of = f"Known: {listed(chosen, known)}\n" if told else ""
        said = [chosen[i] for i in sorted(stream(0, "said", number).permutation(len(chosen))[:SAID])]
        rows.append(
            {"text": head_of(entity, known) + known_of + "Said: " + " ".join(verbalise(said, known.names)) + "\n"}
        )
    return rows


def recipe(plain: Path, told: Path, runs: Path, steps: int) -> dict:
    """Both models, of the same shape, by the same number of steps."""
    size = {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 6,
            "num_key_value_heads": 6}  # fmt: skip
    made: dict = {}
    for name, path in (("plain", plain), ("told", told)):
        made[f"{name}_data"] = {
            "kind": "prepare", "path": str(path), "segment": "document", "near_duplicates": None,
            "signals": [{"name": "readability"}],
        }  # fmt: skip
        made[name] = {
            "kind": "pretrain", "inputs": {"data": f"{name}_data", "tokenizer": "tokenizer"}, "threads": 1,
            "steps": steps, "batch_size": 16, "context": 256, "model": size, "eval_steps": 200, "save_steps": 400,
        }  # fmt: skip
    made["tokenizer"] = {"kind": "tokenizer", "inputs": {"data": "told_data"}}
    return {"name": "facts", "run_dir": str(runs / "run"), "stages": made}


def judged(texts: Sequence[str], known: Knowledge) -> np.ndarray:
    """Claims of each text: supported, contradicted, unknown; int [texts, 3]."""
    counts = [known.consistency(text).counts for text in texts]
    return np.array([[one[what] for what in (SUPPORTED, CONTRADICTED, UNKNOWN)] for one in counts])


def line(name: str, counts: np.ndarray, about: np.ndarray) -> str:
    """A row: shares of claims, supported claims a text, and how many supported ones are of the entity asked about."""
    often = draws(len(counts))

    def share(top: np.ndarray, below: np.ndarray) -> str:
        low, high = percentiles((often @ top) / np.maximum(often @ below, 1e-9))
        return f"{top.sum() / max(1, below.sum()):.3f} [{low:.3f}, {high:.3f}]"

    every, one = counts.sum(1), np.ones(len(counts))
    cells = [share(counts[:, k], every) for k in range(3)] + [share(every, one), share(about, one)]
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1200)
    a = parser.parse_args()
    a.runs.mkdir(parents=True, exist_ok=True)
    known = opened([str(a.data / "fb15k237_train.tsv.gz")], str(a.data / "fb15k237_entity_names.tsv.gz"))
    facts = facts_of(known)
    asked = {entity: own for entity, own in facts.items() if position(known.names[entity], "facts") < 0.1}
    seen = {entity: own for entity, own in facts.items() if position(known.names[entity], "facts") >= 0.1}
    files = {name: a.runs / f"{name}.jsonl" for name in ("plain", "told")}
    for name, path in files.items():
        path.write_text("".join(json.dumps(row) + "\n" for row in documents(seen, known, name == "told")), "utf-8")
    run = execute(api.resolved(recipe(files["plain"], files["told"], a.runs, a.steps)))
    chosen = sorted(asked, key=lambda entity: position(entity, "asked"))[:ASKED]
    own = {entity: [asked[entity][i] for i in stream(1, "told", n).permutation(len(asked[entity]))[:TOLD]]
           for n, entity in enumerate(chosen)}  # fmt: skip
    other = dict(zip(chosen, [own[entity] for entity in [*chosen[1:], chosen[0]]], strict=True))

    def prompts(of: dict[str, list[Triple]] | None) -> list[str]:
        return [
            head_of(e, known) + ("" if of is None else f"Known: {listed(of[e], known)}\n") + "Said:" for e in chosen
        ]

    rows: tuple[tuple[str, Policy, list[str]], ...] = (
        ("not told", api.load(run.models["plain"]), prompts(None)),
        ("told its facts", api.load(run.models["told"]), prompts(own)),
        ("told another's facts", api.load(run.models["told"]), prompts(other)),
    )
    print(f"{len(seen)} entities to learn from, {len(chosen)} asked about, {a.steps} steps\n")
    columns = ("", "supported", "contradicted", "unknown", "claims a text", "supported and of the entity, a text")
    print(f"| {' | '.join(columns)} |\n|" + "---|" * len(columns))
    for name, policy, given in rows:
        texts = policy.generate(given, max_new_tokens=NEW, temperature=0.7, top_p=0.9, seed=0, stop=["\n"])
        about = np.array([
            sum(v.what == SUPPORTED and h == entity for (h, _, _), v in known.consistency(text).claims)
            for entity, text in zip(chosen, texts, strict=True)
        ])  # fmt: skip
        print(line(name, judged(texts, known), about), flush=True)
        written = [prompt + text for prompt, text in zip(given, texts, strict=True)]
        (a.runs / f"{name.replace(' ', '-')}.txt").write_text("\n\n".join(written), "utf-8")


if __name__ == "__main__":
    main()
