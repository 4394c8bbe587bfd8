"""Several processes train as one does: the same losses, exact resume, also with another number of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from penchant.runtime.launch import Place, environment

sys.path.insert(0, str(Path(__file__).parent))
import several

STEPS = 20


def together(
    folder: Path,
    processes: int,
    shard: str,
    *,
    stop_at: int = 0,
    threads: int = 1,
    optimizer: str = "muon",
    work: str = "mle",
) -> list[str]:
    """Run the toy in so many processes; the notes of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    meeting = folder / f"meeting-{len(list(folder.glob('meeting-*')))}"
    words = [work, str(folder), str(STEPS), shard, str(stop_at), str(threads), optimizer]
    started = [
        subprocess.Popen(
            [sys.executable, several.__file__, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(os.environ, Place(rank, processes, rank, str(meeting))),
        )
        for rank in range(processes)
    ]
    found = [process.communicate(timeout=200) for process in started]
    assert [process.returncode for process in started] == [0] * processes, found
    return json.loads(found[0][0])


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def rows(folder: Path) -> list[dict]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("step_seconds", "tokens_per_second")} for row in found]


def alone(folder: Path, **more) -> list[str]:
    settings = {"work": "mle", "steps": STEPS, "shard": "none", "stop_at": 0, "threads": 1, "optimizer": "muon"} | more
    return several.run(folder=folder, at=Place(), **settings)


def assert_alike(one: Path, other: Path, near: float = 1e-12) -> None:
    """Losses within 1e-5 over all steps (or that near, where they pass 0), and weights close."""
    assert len(losses(one)) == len(losses(other)) == STEPS
    assert losses(other) == pytest.approx(losses(one), rel=1e-5, abs=near)
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    for name in a:
        assert float((a[name] - b[name]).norm() / a[name].norm()) < 1e-3, name


def test_two_processes_give_the_losses_of_one_and_go_on_bit_for_bit(tmp_path: Path) -> None:
    alone(tmp_path / "one", optimizer="adamw")
    together(tmp_path / "two", 2, "none", optimizer="adamw")
    assert_alike(tmp_path / "one", tmp_path / "two")
    together(tmp_path / "cut", 2, "none", stop_at=7, optimizer="adamw")
    assert len(losses(tmp_path / "cut")) == 7  # the signal came to one of them, and all stopped after the same step
    together(tmp_path / "cut", 2, "none", optimizer="adamw")
    assert rows(tmp_path / "cut") == rows(tmp_path / "two")
    a, b = weights(tmp_path / "two"), weights(tmp_path / "cut")
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon", "sgd"])
def test_shared_weights_give_the_losses_of_one_process_and_go_on(tmp_path: Path, optimizer: str) -> None:
    alone(tmp_path / "one", optimizer=optimizer)
    together(tmp_path / "two", 2, "full", optimizer=optimizer)
    assert_alike(tmp_path / "one", tmp_path / "two")
    together(tmp_path / "cut", 2, "full", stop_at=7, optimizer=optimizer)
    together(tmp_path / "cut", 2, "full", optimizer=optimizer)
    assert rows(tmp_path / "cut") == rows(tmp_path / "two")
    a, b = weights(tmp_path / "two"), weights(tmp_path / "cut")
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes_and_says_so(tmp_path: Path) -> None:
    alone(tmp_path / "one")
    together(tmp_path / "fewer", 3, "none", stop_at=7)
    notes = alone(tmp_path / "fewer")
    assert "saved by 3 process(es), now 1" in notes[-1]
    assert_alike(tmp_path / "one", tmp_path / "fewer")
    alone(tmp_path / "more", stop_at=4)
    notes = together(tmp_path / "more", 2, "full")
    assert "saved by 1 process(es), now 2" in notes[-1]
    assert_alike(tmp_path / "one", tmp_path / "more")


@pytest.mark.parametrize("work", ["dpo", pytest.param("ppo", marks=pytest.mark.slow)])
def test_pairs_and_values_are_those_of_one_process(tmp_path: Path, work: str) -> None:
    alone(tmp_path / "one", work=work, optimizer="sgd")
    together(tmp_path / "two", 2, "none", work=work, optimizer="sgd")
    assert_alike(tmp_path / "one", tmp_path / "two", 1e-6)


@pytest.mark.slow
def test_processes_and_threads_together(tmp_path: Path) -> None:
    alone(tmp_path / "one")
    together(tmp_path / "both", 2, "none", threads=2)
    assert_alike(tmp_path / "one", tmp_path / "both")


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["none", "full"])
def test_rollouts_are_those_of_one_process(tmp_path: Path, shard: str) -> None:
    """Each process samples its own groups, and knows the advantages and statistics of all."""
    alone(tmp_path / "one", work="grpo", optimizer="sgd")
    together(tmp_path / "two", 2, shard, work="grpo", optimizer="sgd", stop_at=5)
    together(tmp_path / "two", 2, shard, work="grpo", optimizer="sgd")
    texts = [[json.loads(line) for line in (tmp_path / n / "samples.jsonl").open()] for n in ("one", "two")]
    assert texts[0] == texts[1]
    assert len(texts[0]) == STEPS // 2
    for a, b in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        timeless = {k: v for k, v in a.items() if not k.endswith("_seconds")}
        assert timeless == pytest.approx({k: b[k] for k in timeless}, rel=1e-4, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["none", "full"])
def test_processes_without_a_row_keep_the_others_company(tmp_path: Path, shard: str) -> None:
    alone(tmp_path / "one", work="one", optimizer="adamw")
    together(tmp_path / "two", 2, shard, work="one", optimizer="adamw")
    assert_alike(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["none", "full"])
def test_adapters_train_in_company_as_alone(tmp_path: Path, shard: str) -> None:
    """Only they move, whoever holds which part of the weights; and they go on with the same bits."""
    alone(tmp_path / "one", work="lora", optimizer="adamw")
    together(tmp_path / "two", 2, shard, work="lora", optimizer="adamw")
    assert_alike(tmp_path / "one", tmp_path / "two")
    adapters = [load_file(tmp_path / n / "model" / "adapter" / "adapter_model.safetensors") for n in ("one", "two")]
    assert adapters[0].keys() == adapters[1].keys()
    for name, value in adapters[0].items():
        torch.testing.assert_close(adapters[1][name], value, rtol=1e-3, atol=1e-5)
    assert any(value.abs().max() > 0 for name, value in adapters[1].items() if "lora_B" in name)
    together(tmp_path / "cut", 2, shard, work="lora", optimizer="adamw", stop_at=7)
    together(tmp_path / "cut", 2, shard, work="lora", optimizer="adamw")
    assert rows(tmp_path / "cut") == rows(tmp_path / "two")
    a, b = weights(tmp_path / "two"), weights(tmp_path / "cut")
    assert all(torch.equal(a[name], b[name]) for name in a)
