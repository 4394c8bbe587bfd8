"""A knowledge graph: load triples, ask it in SPARQL, find its entities in texts, check what texts claim."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from penchant import console

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
command = typer.Typer(
    name="kg",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings=SETTINGS,
    help=(
        "A knowledge graph: load triples, ask it in SPARQL, find its entities in texts, check what texts claim.\n\n\b\n"
        "Examples:\n  penchant kg load facts.tsv --store graph/\n"
        "  penchant kg score graph/ 'The capital of France is Lyon.'"
    ),
)
Graph = Annotated[
    str, typer.Argument(metavar="GRAPH", help="A store's folder, or files of triples: a.tsv,b.nt.", show_default=False)
]
Names = Annotated[str | None, typer.Option("--names", metavar="TSV", help="Entity and name.", show_default=False)]
Labels = Annotated[str | None, typer.Option("--labels", metavar="TSV", help="Relation and phrase.", show_default=False)]
Types = Annotated[str | None, typer.Option("--types", metavar="TSV", help="Entity and kind.", show_default=False)]
Text = Annotated[str, typer.Argument(metavar="TEXT", help="A text, or @FILE with one a line.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON on stdout.")]


@command.command(context_settings=SETTINGS)
def load(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help=".tsv (head, relation, tail), .nt or .ttl.")],
    store: Annotated[str, typer.Option("--store", metavar="DIR", help="Where the graph is kept.")] = "graph",
    names: Names = None,
    types: Types = None,
    as_json: AsJson = False,
) -> None:
    """Load triples, names and kinds into a store; what is there already is there once.

    Broken lines are counted by cause; over 1 % of a file's refuse it.

    \b
    Examples:
      penchant kg load facts.tsv.gz more.nt --store graph/ --names names.tsv
    """
    from penchant.knowledge.store import LABEL, TYPE, Graph, read_pairs

    ready = Graph()  # in memory first: a broken file leaves the store as it was
    found: dict[str, Any] = {file: dict(ready.load(file)) for file in files}
    ready.add((entity, LABEL, name) for entity, name in ([] if names is None else read_pairs(names)))
    ready.add((entity, TYPE, kind) for entity, kind in ([] if types is None else read_pairs(types)))
    graph = Graph(store)
    graph.store.bulk_extend(ready.store)
    found["total"] = len(graph)
    if as_json:
        console.data(found)
        return
    rows = [(file, cause, f"{n:,}") for file, counts in found.items() if file != "total" for cause, n in counts.items()]
    console.table(rows, ("file", "lines", "count"))
    console.note(f"{found['total']:,} triples in {store}")


@command.command(context_settings=SETTINGS)
def query(
    graph: Graph,
    sparql: Annotated[
        str, typer.Argument(metavar="SPARQL", help="A SELECT or ASK query, or @FILE.", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Ask a graph in SPARQL; names that are no IRIs stand as <urn:penchant:NAME>.

    \b
    Examples:
      penchant kg query graph/ 'SELECT ?city WHERE { <urn:penchant:france> <urn:penchant:capital> ?city }'
    """
    from penchant.knowledge.store import Graph

    found = Graph(graph) if _is_folder(graph) else Graph()
    for file in [] if _is_folder(graph) else graph.split(","):
        found.load(file)
    names, rows = found.query(_texts(sparql, whole=True)[0])
    if as_json:
        console.data([dict(zip(names, row, strict=True)) for row in rows])
    else:
        console.table(rows, names)


@command.command(context_settings=SETTINGS)
def link(
    graph: Graph, text: Text, names: Names = None, labels: Labels = None, types: Types = None, as_json: AsJson = False
) -> None:
    """Find a graph's entities in texts: the longest name wins, on the boundaries of words.

    \b
    Examples:
      penchant kg link graph/ 'Paris is the capital of France.'
      penchant kg link facts.tsv @texts.txt --names names.tsv --json
    """
    known = _opened(graph, names, labels, types)
    found = [
        {"text": one[m.start : m.end], "start": m.start, "end": m.end, "entities": list(m.entities)}
        for one in _texts(text)
        for m in known.linker(one)
    ]
    if as_json:
        console.data(found)
    else:
        console.table([(m["text"], m["start"], ", ".join(m["entities"])) for m in found], ("name", "at", "entities"))


@command.command(context_settings=SETTINGS)
def score(
    graph: Graph, text: Text, names: Names = None, labels: Labels = None, types: Types = None, as_json: AsJson = False
) -> None:
    """Check what texts claim: supported, contradicted (by functional relations and kinds), or unknown.

    A claim is "the RELATION of HEAD is TAIL" or HEAD ... RELATION ... TAIL within a sentence. The same is a signal, and
    so a reward: {name: "signal:knowledge", graph: graph/}.

    \b
    Examples:
      penchant kg score graph/ 'The capital of France is Lyon.'
    """
    known = _opened(graph, names, labels, types)
    found = []
    for one in _texts(text):
        said = known.consistency(one)
        claims = [{"claim": list(c), "verdict": v.what, "why": v.why} for c, v in said.claims]
        found.append({"text": one, "score": said.score, **said.counts, "claims": claims})
    if as_json:
        console.data(found)
        return
    rows = [(" | ".join(c["claim"]), c["verdict"], c["why"]) for one in found for c in one["claims"]]
    console.table(rows, ("claim", "verdict", "why"))
    for shown in found:
        console.note(f"score {shown['score']:+.2f}: {shown['text'][:80]}")


def _opened(graph: str, names: str | None, labels: str | None, types: str | None) -> Any:
    from penchant.knowledge.open import opened

    known = opened([graph] if _is_folder(graph) else graph.split(","), names, labels, types)
    if known.left_out:
        console.note("left out: " + ", ".join(f"{n} {cause}" for cause, n in known.left_out.items()))
    return known


def _is_folder(graph: str) -> bool:
    from pathlib import Path

    return Path(graph).is_dir()


def _texts(text: str, whole: bool = False) -> list[str]:
    """A text as it stands, or those of a file."""
    from penchant.errors import InputError

    if not text.startswith("@"):
        return [text]
    try:
        with open(text[1:], encoding="utf-8") as handle:
            read = handle.read()
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror})", "give @FILE, or the text itself", file=text[1:]
        ) from error
    return [read] if whole else [line for line in read.splitlines() if line.strip()]
