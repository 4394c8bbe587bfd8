"""Every plug-in of every kind keeps the shape of its kind: help, checked options, a maker that works by default."""

from __future__ import annotations

import ast
import inspect
import math
from pathlib import Path

import numpy as np
import pytest
import typer
from pydantic import BaseModel

from penchant import registry
from penchant.contracts import Algorithm, Context, Measure
from penchant.data.pack import next_token_batch
from penchant.errors import InputError
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.heads import add_heads
from penchant.models.quantities import quantities
from penchant.records import Document, Segment
from penchant.runs.recipe import load_recipe
from penchant.signals._linear import fit
from penchant.stages.tune import source_of
from penchant.text.tokenizer import Tokenizer

MADE = ("signals", "tasks", "objectives", "rewards", "algorithms")
PLUGINS = [(kind, name) for kind in (*MADE, "stages", "commands", "metrics") for name in registry.names(kind)]
NEEDED = {"continuation": {"signal": {"name": "readability"}}}  # options without which there is no default
TEXTS = {
    "python": 'def add(a, b):\n    """Return the sum of two numbers."""\n    return a+b\n',
    "en": "It was a bright cold day in April.\nThe clocks were striking thirteen, which was not good.\n",
}


def ids(pair):
    return "/".join(pair)


def modules(kind):
    return [(name, registry.load(kind, name)) for name in registry.names(kind)]


def test_kinds_have_plugins():
    """An empty kind is a room that nobody needs."""
    assert all(registry.names(kind) for kind in registry.KINDS)


@pytest.mark.parametrize(("kind", "name"), PLUGINS, ids=map(ids, PLUGINS))
def test_help(kind, name):
    """The first line of the docstring says what it is, and fits a line."""
    line = registry.describe(kind, name)
    assert 15 <= len(line) <= 140, line
    assert line[0].isupper() or line[0].isdigit()


@pytest.mark.parametrize(("kind", "name"), [p for p in PLUGINS if p[0] in (*MADE, "stages")], ids=ids)
def test_options_are_checked(kind, name):
    """Options refuse unknown keys, and say what each is for."""
    options = getattr(registry.load(kind, name), "Options", None)
    if options is None:
        assert kind not in ("stages", "signals"), "needs Options"
        return
    assert issubclass(options, BaseModel)
    assert options.model_config.get("extra") == "forbid"


@pytest.mark.parametrize(("kind", "name"), PLUGINS, ids=map(ids, PLUGINS))
def test_only_plugins_are_listed(kind, name):
    """What a listing shows can be used: the module defines what its kind is made by."""
    assert callable(getattr(registry.load(kind, name), registry.MAKERS.get(kind, "build")))


def test_a_rooms_tool_is_no_plugin():
    """`metrics/intervals.py` serves the metrics, and is none."""
    assert "intervals" not in registry.names("metrics")
    with pytest.raises(InputError, match="no metric named 'intervals'"):
        registry.load("metrics", "intervals")


@pytest.mark.parametrize(("kind", "name"), [p for p in PLUGINS if p[0] in MADE], ids=ids)
def test_build(kind, name):
    """`build(options, context)` is there, with these two arguments."""
    build = registry.load(kind, name).build
    assert list(inspect.signature(build).parameters)[:2] == ["options", "context"]


@pytest.mark.parametrize("name", registry.names("stages"))
def test_stages(name):
    """A stage has `INPUTS` and `run(options, context)`; `plan`, where it has one, takes the same."""
    module = registry.load("stages", name)
    for function in filter(None, (module.run, getattr(module, "plan", None))):
        first, second, *more = inspect.signature(function).parameters.values()
        assert (first.name, second.name) == ("options", "context")
        assert all(parameter.default is not parameter.empty for parameter in more)
    assert all(role is ... or isinstance(role, str) for role in module.INPUTS)
    if hasattr(module, "check"):
        assert list(inspect.signature(module.check).parameters) == ["options", "inputs"]


@pytest.mark.parametrize("name", registry.names("signals"))
def test_signals_score_every_segment(name, tmp_path):
    """One finite float a segment, inside the range that the signal states, for each language that it serves."""
    module = registry.load("signals", name)
    if module.REMOTE:
        pytest.skip("it asks a service; its own test has one")
    needed = {}
    if name == "classifier":
        fit(["good day", "bad day"] * 2, np.eye(2)[[0, 1] * 2], ("x", "y"), 1.0).save(tmp_path)
        needed = {"model": str(tmp_path)}
    if name == "knowledge":
        (tmp_path / "facts.tsv").write_text("a\tb\tc\n")
        needed = {"graph": str(tmp_path / "facts.tsv")}
    low, high = module.RANGE
    assert isinstance(module.REMOTE, bool)
    score = module.build(module.Options(**needed), Context())
    languages = TEXTS if module.LANGUAGES == "any" else [one for one in TEXTS if one in module.LANGUAGES]
    assert module.LANGUAGES == "any" or isinstance(module.LANGUAGES, list | tuple)
    for language in languages:
        lines = TEXTS[language].splitlines(keepends=True)
        starts = [sum(map(len, lines[:i])) for i in range(len(lines))]
        found = score([Segment(line, start, {"probability": 0.5}) for line, start in zip(lines, starts, strict=True)])
        assert len(found) == len(lines)
        assert all(math.isfinite(x) for x in found)
        assert all((low is None or x >= low) and (high is None or x <= high) for x in found)
    assert score([]) == []


@pytest.mark.parametrize("name", registry.names("tasks"))
def test_tasks_say_what_they_measure(name):
    """A task measures `reward` among others, each with a help; and finds spots inside a document."""
    module = registry.load("tasks", name)
    task = module.build(module.Options(**NEEDED.get(name, {})), Context(build=_build))
    assert "reward" in task.measures
    assert all(
        isinstance(m, Measure) and m.help and m.better in ("", "lower", "higher") for m in task.measures.values()
    )
    text = TEXTS["python"] * 5
    ends = tuple(i + 1 for i, character in enumerate(text) if character == "\n")
    spots = task.spots(Document("a.py", text, ends))
    assert all(0 < spot.end <= len(text) for spot in spots)


def _build(kind, name, options):
    module = registry.load(kind, name)
    return module.build(module.Options(**options), Context(build=_build))


@pytest.mark.parametrize("name", registry.names("objectives"))
def test_objectives_are_built_and_give_sums(name):
    """An objective's terms are sums with a gradient, one for each total, and a batch may be cut between its units."""
    module = registry.load("objectives", name)
    objective = module.build(module.Options() if hasattr(module, "Options") else None, Context())
    config = DecoderConfig(vocab_size=20, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                           num_attention_heads=2, num_key_value_heads=2, initializer_range=0.3)  # fmt: skip
    model = Decoder(config).initialise(0)
    add_heads(model, {"value": 1, "score": 1, **getattr(objective, "heads", {})})
    random = np.random.default_rng(0)
    rows = [random.integers(0, 20, n) for n in (5, 9, 4, 7)]
    size = {"pair": 2, "group": 2}.get(getattr(objective, "unit", "token"), 1)  # sequences of a unit
    columns = {column: [random.normal(size=len(row)) for row in rows] for column in getattr(objective, "needs", ())}
    if "group" in columns:
        columns["group"] = [np.full(len(row), i // size) for i, row in enumerate(rows)]
    whole = next_token_batch(rows, columns=columns)
    parts = [
        next_token_batch(rows[i : i + size], columns={k: v[i : i + size] for k, v in columns.items()})
        for i in range(0, len(rows), size)
    ]
    assert objective.quantities
    sums = []
    for batches in ([whole], parts):
        totals = objective.totals(batches)
        terms = [objective.loss(quantities(model, batch, objective.quantities), batch) for batch in batches]
        assert all(term.keys() == totals.keys() for term in terms)
        assert all(total > 0 and math.isfinite(total) for total in totals.values())
        sums.append(sum(term.sum / totals[key] for one in terms for key, term in one.items()))
    assert sums[0].requires_grad
    assert float(sums[0].detach()) == pytest.approx(float(sums[1].detach()), rel=1e-5)


@pytest.mark.parametrize("name", registry.names("objectives"))
def test_objectives_keep_the_text(name):
    """What an objective makes of a document holds its text, and nothing but control tokens that it names besides."""
    module = registry.load("objectives", name)
    tokenizer = Tokenizer.train(list(TEXTS.values()), 300)
    context = Context(
        tokenizer=tokenizer,
        data={"signals": {"style": {"quantiles": {"0.5": 0.0}, "document_quantiles": {"0.5": -1.0}}}},
    )
    objective = module.build(module.Options() if hasattr(module, "Options") else None, context)
    if not hasattr(objective, "transform"):
        return
    text = TEXTS["python"] * 9
    ends = tuple(i + 1 for i, character in enumerate(text) if character == "\n")
    document = Document("a.py", text, ends, {"style": tuple(float(-(i % 2)) for i in range(len(ends)))})
    for heldout in (False, True):
        found = [objective.transform(document, number, heldout) for number in (0, 0, 1)]
        assert (found[0].ids == found[1].ids).all()
        if heldout:
            assert (found[0].ids == found[2].ids).all()
        for one in filter(None, found):
            assert one.control.dtype == bool
            assert {len(one.ids), *map(len, one.columns.values())} == {len(one.control)}
            assert tokenizer.decode(one.ids[~one.control].tolist()) == text
            known = {tokenizer.control_ids[control] for control in getattr(objective, "control", ())}
            assert set(one.ids[one.control].tolist()) <= known


@pytest.mark.parametrize("name", registry.names("algorithms"))
def test_algorithms_say_what_they_pick(name):
    """An algorithm is built by default, names a source that there is, and gives credit in one way at most."""
    module = registry.load("algorithms", name)
    algorithm = module.build(module.Options(), Context())
    assert source_of(name)
    assert isinstance(algorithm, Algorithm)
    assert algorithm.objective.quantities
    assert algorithm.advantages is None or algorithm.credit is None
    assert len(registry.describe("algorithms", name)) > 30


PRESETS = {"dr_grpo": "grpo", "dapo": "grpo", "gspo": "grpo", "cispo": "grpo", "ipo": "dpo", "cdpo": "dpo",
           "robust_dpo": "dpo", "dqn": "q_learning"}  # fmt: skip


@pytest.mark.parametrize("name", PRESETS)
def test_presets_hold_options_alone(name):
    """What is an option of another algorithm is no copy of it: a file without a function, and the other's maker."""
    module = registry.load("algorithms", name)
    tree = ast.parse(Path(inspect.getfile(module)).read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Lambda)]
    parent = registry.load("algorithms", PRESETS[name])
    assert module.build is parent.build
    assert issubclass(module.Options, parent.Options)
    assert module.Options() != parent.Options()


@pytest.mark.parametrize("name", registry.names("recipes"))
def test_recipes_load(name):
    """Every recipe is valid as it stands, ends in a report, and says in its first line what it is."""
    assert len(registry.describe("recipes", name)) > 20
    recipe = load_recipe(name, environment={})
    assert list(recipe.stages)[-1] in ("report", "frontier")
    assert recipe.name == name


@pytest.mark.parametrize("name", registry.names("commands"))
def test_commands_show_examples(name):
    """A command's help shows how to call it; of a command of commands each one's."""
    command = registry.load("commands", name).command
    for one in [c.callback for c in command.registered_commands] if isinstance(command, typer.Typer) else [command]:
        assert f"penchant {name}" in (one.__doc__ or "")
