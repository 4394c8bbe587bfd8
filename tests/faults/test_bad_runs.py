"""Whole runs that meet a full disk, a corrupt checkpoint or a wrong line: one line, the right code, nothing lost."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MEASURES = (
    *("violations_per_line", "style_per_line", "violations_outside_docstrings", "parse_rate", "reward"),
    *("docstring_rate", "distinct_2"),
)
INJECTED = """
import errno, os, pathlib
_real, _count = os.fsync, [0]
def fsync(handle):
    _count[0] += 1
    if _count[0] > 6 and "checkpoint" in os.readlink(f"/proc/self/fd/{handle}"):
        raise OSError(errno.ENOSPC, "No space left on device")
    return _real(handle)
os.fsync = fsync
"""


def penchant(*words: object, env: dict | None = None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "penchant", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=os.environ | (env or {}))


def one_line(done: subprocess.CompletedProcess, code: int, *words: str) -> None:
    """The run ended with this code and one line of error that holds these words, without a traceback."""
    assert done.returncode == code, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("penchant: ")]
    assert len(errors) == 1, done.stderr[-2000:]
    for word in words:
        assert word in errors[0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished smoke run."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    done = penchant("run", "smoke", f"run_dir={folder}")
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def copy(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to, symlinks=True)
    return to


def unfinish(folder: Path, stage: str) -> Path:
    """As if the run had been killed just before this stage was done."""
    place = folder / "stages" / stage
    done = json.loads((place / "done.json").read_text())
    (place / "attempt.json").write_text(json.dumps({"fingerprint": done["fingerprint"], "spans": []}))
    (place / "done.json").unlink()
    shutil.rmtree(place / "model")
    return place


def test_a_truncated_checkpoint_falls_back_and_only_when_none_is_left_fails(finished, tmp_path):
    folder = copy(finished, tmp_path / "run")
    stage = unfinish(folder, "mle")
    weights = sorted(stage.glob("checkpoint-*/model.safetensors"), key=lambda p: int(p.parent.name[11:]))
    weights[-1].write_bytes(weights[-1].read_bytes()[:1000])
    done = penchant("run", "smoke", f"run_dir={folder}")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "going back to the checkpoint before" in done.stderr
    before = (finished / "models" / "mle" / "model.safetensors").read_bytes()
    assert (folder / "models" / "mle" / "model.safetensors").read_bytes() == before
    stage = unfinish(folder, "mle")
    for path in stage.glob("checkpoint-*/model.safetensors"):
        path.write_bytes(b"nothing")
    report = (folder / "report.json").read_bytes()
    one_line(penchant("run", "smoke", f"run_dir={folder}"), 5, "model.safetensors", "manifest")
    assert (folder / "report.json").read_bytes() == report


def test_a_corrupt_model_is_named(finished, tmp_path):
    model = copy(finished / "models" / "tuned", tmp_path / "tuned")
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:2000])
    one_line(penchant("generate", model, "--prompt", "def f():\n"), 5, "model.safetensors")


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(finished, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(INJECTED)
    folder = tmp_path / "run"
    done = penchant("run", "smoke", f"run_dir={folder}", env={"PYTHONPATH": str(tmp_path / "site")})
    one_line(done, 1, "the disk is full", "checkpoint")
    assert not list(folder.glob("stages/*/tmp-*"))
    assert penchant("run", "smoke", f"run_dir={folder}").returncode == 0
    before = (finished / "models" / "tuned" / "model.safetensors").read_bytes()
    assert (folder / "models" / "tuned" / "model.safetensors").read_bytes() == before


def test_a_really_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk]).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        one_line(penchant("run", "smoke", f"run_dir={disk / 'run'}"), 1, "the disk is full")
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_prompt_longer_than_the_context_is_refused(finished):
    one_line(penchant("generate", finished / "models" / "mle", "--prompt", "x = 1\n" * 400), 2, "context")


def test_a_typo_in_a_recipe_names_the_line_and_the_nearest_key(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("# mine\nname: mine\nstages:\n  prepare:\n    kind: prepare\n    segmnt: line\n")
    one_line(penchant("run", path), 2, "segmnt", "segment", "mine.yaml", "6")
    one_line(penchant("run", "smoke", "mle.stepz=3"), 2, "stepz", "steps")
    one_line(penchant("run", "smok"), 2, "smoke")


def test_another_process_in_the_same_folder_is_refused(finished):
    from penchant.files import lock

    with lock(finished):
        one_line(penchant("run", "smoke", f"run_dir={finished}"), 2, "another process", str(finished))


def test_the_report_holds_every_figure_that_is_promised(finished):
    report = json.loads((finished / "report.json").read_text())
    for row in ("mle", "conditional", "tuned", "conditional_bad", "conditional_none", "mle_t1", "tuned_t1"):
        for measure in MEASURES:
            assert set(report["models"][row][measure]) >= {"value", "low", "high", "n", "files"}
    for row in ("mle", "conditional", "tuned"):
        assert report["models"][row]["perplexity"]["value"] > 1
    assert report["models"]["conditional"]["perplexity_labelled"]["value"] > 1
    assert "real" in report["models"]
    keys = {"prepare", "tokenizer", "pretrain", "tune", "evaluate", "report", "total"}
    assert keys <= set(report["wall_seconds"])


def test_the_models_load_in_transformers_with_the_same_logits_and_ids(finished):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import penchant

    text = 'def first(x):\n    """Say it."""\n    return [x, "ü", 1]\n'
    for name in ("mle", "conditional", "tuned"):
        folder = finished / "models" / name
        ours = penchant.load(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert ids == ours.tokenizer.encode(text)
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        model = ours.model.float()
        hidden = model(torch.tensor(ids), torch.arange(len(ids)), torch.tensor([len(ids)]))
        assert (hidden @ model.head.T - theirs(torch.tensor([ids])).logits[0]).abs().max() < 1e-4
