"""Whole runs that meet a corrupt checkpoint or a wrong line: one line, the right code, nothing lost."""

import json
import shutil
from pathlib import Path

from running import one_line, penchant

MEASURES = (
    *("violations_per_line", "style_per_line", "violations_outside_docstrings", "parse_rate", "reward"),
    *("docstring_rate", "distinct_2"),
)


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
