"""The command line: light, helpful, one line for every failure."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from penchant import cli, registry
from running import penchant

LIGHT = {  # what `penchant --help` and `import penchant` must not load
    *("numpy", "pydantic", "yaml", "rich", "torch", "transformers", "tokenizers", "pyarrow", "matplotlib", "jinja2"),
    *("subprocess", "asyncio", "importlib.metadata", "penchant.runs", "penchant.api", "penchant.stages"),
}


def call(*words: str) -> int:
    """`penchant ...` in this process; the exit code."""
    with pytest.raises(SystemExit) as leave:
        cli.main(words)
    assert isinstance(leave.value.code, int)
    return leave.value.code


def imported(code: str) -> set[str]:
    """Modules that are loaded after `code`."""
    told = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint('\\n'.join(sys.modules), file=sys.stderr)"],
        capture_output=True,
        text=True,
    )
    return set(told.stderr.split())


def test_help_loads_only_what_it_needs() -> None:
    code = "from penchant import cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass"
    loaded = imported(code)
    assert "penchant.cli" in loaded
    # typer itself asks for these two
    assert loaded & LIGHT <= {"importlib.metadata", "subprocess"}
    assert not [name for name in loaded if name.startswith("penchant.commands.")]


def test_import_loads_only_itself() -> None:
    loaded = imported("import penchant")
    assert not loaded & LIGHT
    assert [name for name in loaded if name.startswith("penchant")] == ["penchant"]


@pytest.mark.slow
def test_help_and_import_are_fast() -> None:
    for words, limit in ((["-m", "penchant", "--help"], 0.3), (["-c", "import penchant"], 0.1)):
        times = []
        for _ in range(5):
            began = time.perf_counter()
            subprocess.run([sys.executable, *words], capture_output=True, check=True)
            times.append(time.perf_counter() - began)
        assert min(times) < limit


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out.startswith("penchant 0.")
    for words in (("-h",), ()):
        assert call(*words) in (0, 2)
        told = capsys.readouterr().out
        assert all(name in told for name in registry.names("commands"))


@pytest.mark.parametrize("name", [*registry.names("commands"), "signal raters", "signal train", "kg load"])
def test_every_command_has_help_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*name.split(), "-h") == 0
    told = capsys.readouterr().out
    assert "Examples:" in told
    assert f"penchant {name}" in told
    assert ("--json" in told) == (name not in ("signal", "kg"))  # a command of commands has no answer of its own


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["frobnicate"], "No such command 'frobnicate'; see penchant --help"),
        (["run"], "Missing argument 'RECIPE'; see penchant run --help"),
        (["run", "--nix"], "No such option: --nix"),
        (["run", "quickstrat"], "no recipe named 'quickstrat'; did you mean 'quickstart'?"),
        (["run", "none.yaml"], "none.yaml: no such recipe"),
        (["run", "."], "no recipe named '.'"),
        (["run", "./"], ".: is a folder"),
        (["run", "chain.yaml", "b.stepz=3"], "there is no option 'b.stepz' (command line); did you mean 'b.steps'?"),
        (["run", "chain.yaml", "steps=3"], "there is no option 'steps' (command line); did you mean"),
        (["run", "chain.yaml", "b=3"], "'b' is a stage (command line); give one of its options as b.KEY=VALUE"),
        (["run", "chain.yaml", "b.threads=0"], "option 'b.threads' is 0 (command line); it should be a number from 1"),
        (["run", "chain.yaml", "seed=-1"], "option 'seed' is -1 (command line); it should be a whole number"),
        (["run", "chain.yaml", "name=../x"], "option 'name' is '../x' (command line)"),
        (["run", "chain.yaml", "b.inputs.in=aa"], "b.inputs.in is 'aa', neither a stage nor a folder (command line)"),
        (["run", "chain.yaml", "run_dir=chain.yaml"], "chain.yaml: is a file; give another run_dir="),
        (["run", "chain.yaml", "--from", "d"], "no stage named 'd' in chain"),
        (["report", "."], "is no run folder"),
        (["report", "nowhere"], "nowhere: is no run folder"),
        (["list", "signalz"], "there is no kind 'signalz'; did you mean 'signals'?"),
        (["pretrain"], "penchant pretrain needs data; give data=FOLDER"),
        (["tune", "data=."], "penchant tune needs model"),
        (["evaluate", "model=nowhere", "data=."], "nowhere: no such folder"),
        (["evaluate", "model=.", "data=."], "holds no model"),
        (["generate", "nowhere", "-p", "x"], "nowhere: no such folder"),
        (["generate", "."], "no prompt"),
        (["generate", ".", "-f", "none.txt"], "none.txt: cannot be read"),
        (["generate", ".", "-p", "x", "--temperature", "-1"], "Invalid value for '--temperature'"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_2(
    words: list[str], line: str, chain: dict[str, Any], write_recipe: Any, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("sys.stdin", io.StringIO())
    write_recipe(chain)
    assert call(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("penchant: ")
    assert line in err
    assert sorted(os.listdir()) == ["chain.yaml"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("stages: 3\n", "a recipe needs `stages:`"),
        ("name: x\nstages:\n  a: {}\n", "bad.yaml:3: stage 'a' has no kind"),
        ("stages:\n  a: {kind: prepar}\n", "bad.yaml:2: no stage named 'prepar'; did you mean 'prepare'?"),
        ("stages:\n  a:\n    kind: STAGE\n    stepz: 3\n", "bad.yaml:4: there is no option 'a.stepz'; did you mean"),
        ("stages:\n  a:\n    kind: STAGE\n    steps: x\n", "bad.yaml:4: option 'a.steps' is 'x'; it should be"),
        ("stages:\n  a:\n    kind: STAGE\n    inputs: {in: b}\n", "bad.yaml:4: a.inputs.in is 'b', neither"),
        ("stages:\n  a: {kind: STAGE, inputs: {in: a}}\n", "stages feed each other in a circle: a -> a"),
        ("seeds: 3\nstages:\n  a: {kind: STAGE}\n", "bad.yaml:1: there is no option 'seeds'; did you mean 'seed'?"),
        ("stages:\n  seed: {kind: STAGE}\n", "bad.yaml:2: 'seed' cannot be a stage's name"),
        ("a: &a [1]\nb: [*a, *a]\n", "bad.yaml:1: an anchor or alias"),
        ("stages:\n  a: {kind: STAGE}\n  a: {kind: STAGE}\n", "bad.yaml:3: the key 'a' stands here twice"),
    ],
)  # fmt: skip
def test_a_bad_recipe_names_the_line(
    text: str, line: str, chain: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad.yaml").write_text(text.replace("STAGE", chain["stages"]["a"]["kind"]))
    assert call("run", "bad.yaml") == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert line in err
    assert os.listdir() == ["bad.yaml"]


def test_print_config_shows_values_and_origins(
    chain: dict[str, Any], write_recipe: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chain["stages"]["a"]["steps"] = 7
    monkeypatch.setenv("PENCHANT_B__STEPS", "8")
    monkeypatch.setenv("PENCHANT_PREPARE__PATH", "not of this recipe")
    monkeypatch.setenv("PENCHANT_DATA", "no option")
    name = write_recipe(chain)
    assert call("run", name, "c.steps=9", "output_dir=x", "--print-config", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    line = Path(name).read_text().splitlines().index("    steps: 7") + 1
    assert found["a.steps"] == {"value": 7, "origin": f"chain.yaml:{line}"}
    assert found["b.steps"] == {"value": 8, "origin": "environment PENCHANT_B__STEPS"}
    assert found["c.steps"] == {"value": 9, "origin": "command line"}
    assert found["c.delay"] == {"value": 0.0, "origin": "default"}
    assert found["seed"]["value"] == 5
    assert call("run", name, "--print-config") == 0
    assert "environment PENCHANT_B__STEPS" in capsys.readouterr().out
    assert not Path("runs").exists()


def test_an_unknown_variable_is_refused(
    chain: dict[str, Any], write_recipe: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PENCHANT_SEEED", "1")
    assert call("run", write_recipe(chain), "--print-config") == 2
    assert "no option 'seeed' (environment PENCHANT_SEEED); did you mean 'seed'?" in capsys.readouterr().err


def test_a_kinds_key_is_for_all_its_stages(
    chain: dict[str, Any], write_recipe: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("run", write_recipe(chain), "b.steps=4", "counting.steps=2", "--print-config", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [found[f"{name}.steps"]["value"] for name in "abc"] == [2, 4, 2]


def test_dry_run_foretells_and_runs_nothing(
    chain: dict[str, Any], write_recipe: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chain["stages"]["c"]["inputs"] = {"in": "a"}
    monkeypatch.setattr("penchant.runs.planning.cores", lambda: 2)
    name = write_recipe(chain)
    assert call("run", name, "--dry-run", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["total"]["seconds"] == 20.0  # b and c at once
    assert found["stages"]["a"] == {
        **{"kind": chain["stages"]["a"]["kind"], "threads": 1, "state": "run", "tokens": 3, "parameters": 1000},
        **{"memory": 2_000_000, "disk": 3_000_000, "seconds": 10.0},
    }
    assert call("run", name, "--dry-run") == 0
    told = capsys.readouterr().out
    assert "1,000" in told
    assert "20.0 s" in told
    assert not Path("runs").exists()


def test_run_answers_on_stdout_and_talks_on_stderr(
    chain: dict[str, Any], write_recipe: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    del chain["stages"]["b"], chain["stages"]["c"]
    name = write_recipe(chain)
    assert call("run", name, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["run_dir"] == "runs/chain"
    assert found["stages"]["a"]["summary"]["steps"] == 3
    assert call("run", name) == 0
    assert capsys.readouterr() == ("runs/chain\n", "stage a: up to date\n")
    assert call("run", name, "--from", "a", "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["stages"]["a"]["state"] == "run"


def test_a_failed_stage_gives_its_exit_code_once(
    chain: dict[str, Any], write_recipe: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    chain["stages"] = {"a": {**chain["stages"]["a"], "fail": "input"}}
    assert call("run", write_recipe(chain)) == 4
    told = capsys.readouterr().err
    assert told.count("penchant: stage a: data.csv, row 2: no usable row in 3; give better data") == 1
    assert "Traceback" not in told


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list", "recipes", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {"quickstart", "smoke", "prose"} <= {row["name"] for row in found}
    assert all(set(row) == {"name", "help"} and row["help"] for row in found)
    assert call("list", "signal") == 0
    assert "style" in capsys.readouterr().out
    assert call("list") == 0
    assert "algorithms" in capsys.readouterr().out


def test_a_reader_that_has_enough_is_no_failure() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "penchant", "list", "commands", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    _, told = process.communicate() if process.stderr is None else (b"", process.stderr.read())
    assert told == b""
    assert process.wait() == 0


def test_debug_shows_the_traceback() -> None:
    quiet, loud = penchant("run", "nix"), penchant("run", "nix", env={"PENCHANT_DEBUG": "1"})
    assert quiet.returncode == 2
    assert "Traceback" not in quiet.stderr
    assert "Traceback" in loud.stderr


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (MemoryError(), 1, "out of memory"),
        (OSError(28, "No space left on device", "f"), 1, "f: the disk is full"),
        (ZeroDivisionError("division by zero"), 1, "ZeroDivisionError: division by zero; PENCHANT_DEBUG=1 shows where"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_whatever_happens_is_one_line(
    error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(kind: str) -> list[str]:
        raise error

    import penchant.commands.list

    monkeypatch.setattr(penchant.commands.list.registry, "describe", lambda kind, name: fail(kind))
    assert call("list", "recipes") == code
    err = capsys.readouterr().err
    assert err.startswith(f"penchant: {line}" if line else "")
    assert "Traceback" not in err


def test_completion(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"_PENCHANT_COMPLETE": "complete_bash", "COMP_WORDS": "penchant pre", "COMP_CWORD": "1"}
    assert penchant(env=asked).stdout.split() == ["prepare", "pretrain"]
    asked |= {"COMP_WORDS": "penchant run qui", "COMP_CWORD": "2"}
    assert penchant(env=asked).stdout.split() == ["quickstart"]


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("doctor", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {"cpu", "cores", "memory", "training", "disk_free_bytes", "bf16", "versions", "extras", "device"} <= set(
        found
    )
    assert isinstance(found["bf16"]["why"], str)
    assert found["versions"]["torch"]
