"""How well signals agree with people, and people with each other: cards of the built-in signals and of trained ones.

    python benchmarks/cards.py --data $PENCHANT_DATA --work DIR

Toxicity is trained on tweets (`penchant signal train`, linear) and judged by raters of other texts. Readability is held
against the school grades (1 to 6) that people gave to word problems; a lower grade is to be easier.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from penchant.commands._signal_card import go
from penchant.raters.read import Layout
from penchant.stages._classifier import go as train


def toxicity(data: Path, work: Path) -> str:
    """A classifier of tweets, as docs/preferences.md has it."""
    folder = work / "toxicity"
    if not (folder / "card.json").is_file():
        values = {"0": "toxic", "1": "toxic", "2": "fine"}
        tweets = str(data / "safety" / "hate_offensive_tweets.jsonl.gz")
        train(tweets, str(folder), "text", "majority", values, None, None, (), True)
    return str(folder)


def cards(data: Path, work: Path) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, set and findings."""
    label = Layout(columns=("label",))
    abuse = Layout(votes="annotations", values={"-3": "1", "-2": "1", "-1": "1", "0": "0", "1": "0"})
    several = Layout(item="instance", rater="user", label="offensiveness")
    grade = Layout(columns=("grade",), values={str(k): str(-k) for k in range(1, 7)})
    toxic = [f"model={toxicity(data, work)}", "label=toxic"]
    asked = (
        ("sentiment (VADER)", "SST-5 dev", "sentiment", [], "sentiment/sst5_dev", "text", label),
        ("sentiment (VADER)", "SST-2 dev", "sentiment", [], "sentiment/sst2_dev", "text", label),
        ("toxicity, trained", "POPQUORN, five grades", "classifier", toxic, "profiles/popquorn_offensiveness", "text",
         several),
        ("toxicity, trained", "ConvAbuse dev", "classifier", toxic, "crowd/convabuse_dev", "user", abuse),
        ("readability, flesch", "ASDiv's grades", "readability", [], "math/asdiv", "body,question", grade),
        ("readability, dale_chall", "ASDiv's grades", "readability", ["measure=dale_chall"], "math/asdiv",
         "body,question", grade),
    )  # fmt: skip
    found = []
    for name, where, signal, settings, path, text, layout in asked:
        file = str(data / f"{path}.jsonl.gz")
        folder = str(work / "cards" / f"{name} {where}".replace(" ", "-"))
        found.append((name, where, go(signal, settings, file, text, layout, None, 2000, folder)))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    a = parser.parse_args()
    a.work.mkdir(parents=True, exist_ok=True)
    columns = ("signal", "judged on", "texts", "concordance", "one rater with the others", "length alone")
    print(f"| {' | '.join(columns)} |\n|" + "---|" * len(columns))
    for name, where, one in cards(a.data, a.work):
        figures = [
            "" if value is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"
            for value, low, high in (one["concordance"], one["ceiling"], one["length_alone"])
        ]
        print(f"| {name} | {where} | {one['texts']} | {' | '.join(figures)} |")


if __name__ == "__main__":
    main()
