"""A signal that one stage trains and the next one scores by, through a run."""

import json
from pathlib import Path

import numpy as np
import pytest

from penchant.data.files import find
from penchant.data.store import read_documents
from penchant.errors import InputError
from running import one_line, penchant

pytest.importorskip("sklearn")

RECIPE = """
name: own-signal
stages:
  kindness:
    kind: signal
    path: $OWN_DATA/labelled.jsonl
    label: kind
    values: {'0': rude, '1': kind}
  prepare:
    kind: prepare
    inputs: {kindness: kindness}
    path: $OWN_DATA/texts.jsonl
    segment: sentence
    near_duplicates: null
    signals: [{name: classifier, as: rudeness, model: kindness, label: rude, against: true}]
"""


def test_a_trained_signal_scores_what_comes_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    monkeypatch.setenv("OWN_DATA", str(tmp_path))
    words = (("awful", "rude", "broken"), ("lovely", "kind", "happy"))
    said = [(k % 2, f"a {rng.choice(words[k % 2])} thing number {k}.") for k in range(300)]
    rows = [json.dumps({"text": text, "kind": label}) for label, text in said]
    (tmp_path / "labelled.jsonl").write_text("\n".join(rows) + "\n")
    texts = [json.dumps({"text": f"It was lovely and kind {k}. It was awful and rude {k}."}) for k in range(40)]
    (tmp_path / "texts.jsonl").write_text("\n".join(texts) + "\n")
    (tmp_path / "own.yaml").write_text(RECIPE)
    run = ("run", tmp_path / "own.yaml", f"run_dir={tmp_path / 'out'}")
    done = penchant(*run)
    assert done.returncode == 0, done.stderr
    documents = read_documents(tmp_path / "out" / "stages" / "prepare" / "train.parquet")
    assert len(documents) > 30
    for document in documents:
        kind, rude = document.scores["rudeness"]
        assert -1 <= rude < -0.7 < -0.3 < kind <= 0
    summary = json.loads((tmp_path / "out" / "stages" / "prepare" / "summary.json").read_text())
    assert summary["signals"]["rudeness"]["options"]["model"] == "kindness"  # no path of this machine
    card = json.loads((tmp_path / "out" / "stages" / "kindness" / "card.json").read_text())
    assert card["test"]["accuracy"][0] > 0.9
    again = penchant(*run)
    assert again.returncode == 0 and "finished in" not in again.stderr.replace("own-signal", "")
    other = penchant(*run, "kindness.values={'0': kind, '1': rude}")
    assert other.returncode == 0, other.stderr
    swapped = read_documents(tmp_path / "out" / "stages" / "prepare" / "train.parquet")
    assert all(document.scores["rudeness"][0] < document.scores["rudeness"][1] for document in swapped)


def test_an_input_that_no_signal_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(RECIPE.replace("model: kindness", "model: elsewhere"))
    done = penchant("run", tmp_path / "own.yaml", "--dry-run", env={"OWN_DATA": str(tmp_path)})
    one_line(done, 2, "none names the input 'kindness'")


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_FOLDER", raising=False)
    with pytest.raises(InputError, match="the variable NO_SUCH_FOLDER is not set"):
        find("${NO_SUCH_FOLDER}/texts.jsonl")
