"""Options: layers, origins, and answers to what is wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

import penchant
from penchant.errors import OptionError
from penchant.options import Given, from_arguments, from_environment, known_keys, resolve
from penchant.yaml_file import parse_scalar, read_yaml


class Optimizer(BaseModel, extra="forbid"):
    learning_rate: float = 0.1
    name: Literal["muon", "adamw"] = "muon"


class Options(BaseModel, extra="forbid"):
    steps: int = 10
    batch_size: int = 4
    text: str = ""
    path: Path | None = None
    optimizer: Optimizer = Optimizer()
    maybe: Optimizer | None = None
    free: dict[str, Any] = {}
    rows: list[Optimizer] = []
    named: dict[str, Optimizer] = {}


def settled(*arguments: str, before: list[Given] | None = None) -> tuple[Options, dict[str, str]]:
    return resolve(Options, [*(before or []), *from_arguments(arguments)], "mle.")


def refused(*arguments: str) -> str:
    with pytest.raises(OptionError) as error:
        settled(*arguments)
    assert error.value.exit_code == 2
    return str(error.value)


def test_later_layers_win_and_origins_are_kept() -> None:
    recipe = [Given(("steps",), 20, "r.yaml:3", "r.yaml:3"), Given(("batch_size",), 8, "r.yaml:4", "r.yaml:4")]
    options, origins = settled("steps=30", "free={a: 1, b: {c: 2}}", "free.b.c=3", before=recipe)
    assert (options.steps, options.batch_size, options.free) == (30, 8, {"a": 1, "b": {"c": 3}})
    assert origins["mle.steps"] == "command line"
    assert origins["mle.batch_size"] == "r.yaml:4"
    assert origins["mle.optimizer.learning_rate"] == "default"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-3", 0.001),
        ("-.5", -0.5),
        ("true", True),
        ("null", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("0x10", "0x10"),
        ("*.py", "*.py"),
        ("&a b", "&a b"),
        ("a: b", "a: b"),
        ("# no comment", "# no comment"),
        ("[1, two, 3.5]", [1, "two", 3.5]),
        ("{a: [1]}", {"a": [1]}),
        ("'7'", "7"),
        ("'open", "'open"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_values_are_yaml_scalars_and_flow_collections(text: str, value: Any) -> None:
    assert parse_scalar(text, "key") == value


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_a_value_or_an_option_error(text: str) -> None:
    try:
        value = parse_scalar(text, "key")
    except OptionError:
        return
    assert value is None or isinstance(value, str | int | float | bool | list | dict)


def test_text_stays_text_where_text_is_wanted() -> None:
    options, _ = settled("text=007", "path=2024", "free.x=007")
    assert (options.text, options.path, options.free) == ("007", Path("2024"), {"x": 7})


def test_a_typo_names_the_nearest_key() -> None:
    assert refused("stepz=3") == "there is no option 'mle.stepz' (command line); did you mean 'mle.steps'?"
    assert "did you mean 'mle.optimizer.learning_rate'?" in refused("optimizer.learning_rat=3")
    assert "did you mean 'mle.optimizer.name'?" in refused("optimizr.name=3")
    assert "learning_rate" not in refused("rows.0.x=3")
    assert "did you mean 'mle.maybe.learning_rate'?" in refused("maybe.learnin_rate=3")
    assert "there are mle.steps" in refused("qqqqqqq=3")


def test_a_wrong_type_is_named() -> None:
    assert refused("steps=many").startswith("option 'mle.steps' is 'many' (command line); it should be a valid integer")
    assert "did you mean 'adamw'?" in refused("optimizer.name=adam")
    assert "option 'mle.optimizer' is 3" in refused("optimizer=3")
    assert "option 'mle.steps.x'" in refused("steps=1", "steps.x=1") or "mle.steps" in refused("steps=1", "steps.x=1")
    assert "(and 1 more)" in refused("steps=a", "batch_size=b")
    assert "'mle.rows.0.nam'" in refused("rows=[{nam: muon}]")
    assert "'mle.named.a.learning_rate'" in refused("named.a.learning_rate=x")


def test_an_error_in_a_recipe_names_its_line() -> None:
    with pytest.raises(OptionError, match=r"^dir/r.yaml:7: there is no option 'mle.stepz'; did you mean"):
        resolve(Options, [Given(("stepz",), 1, "r.yaml:7", "dir/r.yaml:7")], "mle.")


def test_names_of_hugging_face_are_taken() -> None:
    options, _ = settled(
        "learning_rate=0.5", "per_device_train_batch_size=2", "max_steps=3", "resume_from_checkpoint=true"
    )
    assert (options.optimizer.learning_rate, options.batch_size, options.steps) == (0.5, 2, 3)
    assert "there is no option 'mle.num_generations'" in refused("num_generations=2")


def test_arguments_are_key_value() -> None:
    for wrong in ("steps", "=3", "a..b=3"):
        with pytest.raises(OptionError):
            from_arguments([wrong])


def test_the_environment_gives_options() -> None:
    found = from_environment({"PENCHANT_SEED": "3", "PENCHANT_MLE__STEPS": "4", "PENCHANT_DATA": "/x", "HOME": "/"})
    assert [(g.name, g.value, g.origin) for g in found] == [
        ("mle.steps", 4, "environment PENCHANT_MLE__STEPS"),
        ("seed", 3, "environment PENCHANT_SEED"),
    ]


def test_variables_that_the_package_reads_itself_are_no_options() -> None:
    """`PENCHANT_KERNELS=off penchant run ...` must not look for an option `kernels`."""
    sources = Path(penchant.__file__).parent.rglob("*.py")
    read = {name for path in sources for name in re.findall(r'environ\S*"(PENCHANT_[A-Z_]+)"', path.read_text("utf-8"))}
    assert {"PENCHANT_DEBUG", "PENCHANT_GEMM", "PENCHANT_KERNELS"} <= read
    assert from_environment(dict.fromkeys(read, "off")) == []


def test_known_keys_are_dotted() -> None:
    assert {"steps", "optimizer", "optimizer.name", "maybe.name"} <= set(known_keys(Options))


BOMB = "a: &a [x, x, x]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]\n"


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (BOMB, 1, "an anchor or alias"),
        ("ok: 1\nx: *nowhere\n", 2, "an anchor or alias"),
        ("a: 1\nb: 2\na: 3\n", 3, "the key 'a' stands here twice"),
        ("a:\n  - 1\n b: 2\n", 3, "not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]\nb: !!python/name:os.system x\n", 2, "not valid YAML"),
        ("a: !!binary aGk=\n", 1, "a value of type bytes"),
        ("? [1, 2]\n: 3\n", 1, "a key that is not a word"),
        ("a: .nan\n", 1, "nan is not a number"),
        ("a: " + "[" * 50 + "]" * 50 + "\n", 1, "nested deeper"),
        ("[" * 5000, 1, "nested deeper"),
        ("a: [" + "1," * 60_000 + "]", 1, "more than 50000 values"),
        ("a: \x00\n", None, "not valid YAML"),
    ],
)
def test_dangerous_yaml_is_refused(text: str, line: int | None, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(OptionError) as error:
        read_yaml(path)
    assert str(error.value).startswith(f"{path}:{line}: {problem}" if line else f"{path}: {problem}")


def test_files_of_the_wrong_kind_are_refused(tmp_path: Path) -> None:
    (tmp_path / "big.yaml").write_text("a: " + "x" * (1 << 20))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name, problem in (("big", "larger than 1 MB"), ("binary", "not UTF-8"), ("none", "cannot be read")):
        with pytest.raises(OptionError if name != "none" else Exception, match=problem):
            read_yaml(tmp_path / f"{name}.yaml")


def test_lines_of_keys(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("# help\nname: x\nstages:\n  a:\n    steps: 1e3\n    list:\n      - k: no\n")
    value, lines = read_yaml(path)
    assert value == {"name": "x", "stages": {"a": {"steps": 1000.0, "list": [{"k": "no"}]}}}
    assert lines["stages", "a", "steps"] == 5
    assert lines["stages", "a", "list", "0", "k"] == 7
