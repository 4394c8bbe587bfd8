"""What `prepare` leaves for people: a page with each rule's counts and examples, and a datasheet beside the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penchant.files import whole
from penchant.reports.page import environment

__all__ = ["datasheet", "personal_data", "rules_page"]

_QUANTILES = ("0.05", "0.25", "0.5", "0.75", "0.95")


def rules_page(summary: Mapping[str, Any]) -> str:
    """`prepare_report.html` from `summary.json`: self-contained, without scripts."""
    text = (
        environment()
        .get_template("prepare.html.j2")
        .render(summary=summary, quantiles=_QUANTILES, personal_data=personal_data(summary))
    )
    return whole(text)


def datasheet(summary: Mapping[str, Any], sources: Sequence[str], licence: str | None) -> str:
    """`README.md`: sources, licence, counts, signals' distributions (Gebru et al. 2021, arXiv:1803.09010)."""
    documents, segments = summary["documents"], summary["segments"]
    parts = [name for name in documents if name in segments]
    lines = ["# Datasheet", "", "## Sources", ""]
    lines += [f"- `{source}`" for source in sources]
    lines += [
        "",
        f"Licence: {licence or 'not given (data.licence=TEXT); ask the owners of the sources before you share'}",
    ]
    lines += ["", "## Counts", "", f"{documents['read']:,} rows read, {documents['kept']:,} documents kept."]
    lines += ["", *_table(("part", "documents", f"segments ({summary['segment']})", "characters"),
                          [(n, documents[n], segments[n], summary["characters"][n]) for n in parts])]  # fmt: skip
    if empty := summary.get("empty_segments"):
        lines += ["", f"{empty:,} segments hold no text (blank lines)."]
    lines += ["", "Languages: " + (", ".join(f"{name} {n:,}" for name, n in summary["languages"].items()) or "none")]
    if summary["rejects"]:
        lines += ["", "Bad rows: " + ", ".join(f"{n:,} {cause}" for cause, n in summary["rejects"].items())]
    if summary["rules"]:
        rows = [(name, rule["action"], rule["count"]) for name, rule in summary["rules"].items()]
        lines += ["", "## Rules", "", *_table(("rule", "what it did", "count"), rows)]
    lines += ["", f"Personal data: {personal_data(summary)}"]
    lines += ["", "## Signals", "", "Scores of segments of the training part, by quantile.", ""]
    rows = [
        (name, *(f"{facts['quantiles'][q]:.4g}" for q in _QUANTILES), f"{facts['mean']:.4g}", facts["help"])
        for name, facts in summary["signals"].items()
    ]
    lines += _table(("signal", *_QUANTILES, "mean", "what it is"), rows)
    return "\n".join([*lines, "", f"Hash of the data: `{summary['data_hash']}`", ""])


def personal_data(summary: Mapping[str, Any]) -> str:
    """What was done about it, and what was not."""
    done = {None: "nothing was looked for", "drop": "texts with some were dropped"}.get(summary["pii"], "masked")
    if not summary["pii"]:
        return done + "."
    if named := summary["entities"]:
        return f"{done}; besides what has a form, a recogniser looked for entities: {', '.join(named)}."
    unseen = "names, places and addresses have no form, no recogniser looked for them (data.entities=PIPELINE)"
    return f"{done}; {unseen}, and they are still there."


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    body = [[f"{cell:,}" if isinstance(cell, int) else str(cell).replace("|", "\\|") for cell in row] for row in rows]
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body)]
