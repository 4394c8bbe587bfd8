"""The timed works do what they say, on a model of a few weights."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import torch

from penchant.bench import limits, works
from penchant.cli import main
from penchant.errors import InputError
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.load import save_model
from penchant.text.tokenizer import Tokenizer

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "runs", "away", "from", "noise")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("tiny")
    lines = [" ".join(WORDS[(i + j) % len(WORDS)] for j in range(5 + i % 4)) for i in range(6000)]
    tokenizer = Tokenizer.train(lines[:200], 300)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = DecoderConfig(tokenizer.vocab_size, num_key_value_heads=1, eos_token_id=tokenizer.eos_id, **sizes)
    save_model(Decoder(config).initialise(0), out)
    tokenizer.save(out)
    (out / "bench_lines.txt").write_text("\n".join(lines), encoding="utf-8")
    return out


@pytest.mark.parametrize(("work", "tokens"), [("generate", 64 * 64), ("grpo", 64 * 64), ("sft", 64 * 256)])
def test_a_work_prints_its_line(folder, capsys, work, tokens, monkeypatch):
    threads = torch.get_num_threads()
    with pytest.raises(SystemExit) as done:
        main(["bench", work, str(folder), "--dtype", "float32", "--steps", "2", "--threads", "1", "--json"])
    torch.set_num_threads(threads)
    assert done.value.code in (0, None)
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (row["work"], row["tokens"], row["dtype"], row["model"]) == (work, tokens, "float32", folder.name)
    assert len(row["seconds"]) == 1 and row["seconds"][0] > 0 and row["peak_rss_mb"] > 50


def test_rows_and_their_length_can_be_chosen(folder):
    _, tokens = works.sft(works.Bench.of(folder, torch.float32, 2, 8, 1, rows=8, length=64))
    assert tokens == 512
    with pytest.raises(InputError, match="makes 0 rows of 1000000 tokens"):
        works.sft(works.Bench.of(folder, torch.float32, 2, 8, 1, rows=8, length=1_000_000))


def test_training_moves_the_weights_and_grpo_has_groups_to_learn_from(folder):
    bench = works.Bench.of(folder, torch.float32, 2, 8, 1)
    before = [p.detach().clone() for p in bench.model.parameters()]
    seconds, _ = works.grpo(bench)
    assert len(seconds) == 2
    assert any(not torch.equal(a, b) for a, b in zip(before, bench.model.parameters(), strict=True))


def test_limits_are_rates_of_the_models_own_products():
    config = DecoderConfig(64, hidden_size=32, intermediate_size=48, num_hidden_layers=2)
    every = limits.shapes(config)
    assert sum(out * inside for out, inside in every) == config.parameters() - (2 * 2 + 1) * 32  # all but the norms
    assert limits.gemm_rate(config, torch.float32, 64, 1) > 1e6
    threads = torch.get_num_threads()
    assert limits.apart_rate(config, torch.float32, 2, 64, 1) > 1e6
    assert limits.apart_rate(config, torch.float32, 2, 32, 1, sampling=True) > 1e6
    assert torch.get_num_threads() == threads  # its own threads alone are set to one


def test_lines_are_asked_for(tmp_path):
    with pytest.raises(InputError, match=r"bench_lines\.txt"):
        works.Bench.of(tmp_path, torch.float32, 2, 8, 1)


@pytest.mark.parametrize("work", works.WORKS)
def test_each_work_has_a_peers_side_and_a_share(work):
    peer, compare = (runpy.run_path(str(BENCHMARKS / f"{name}.py")) for name in ("peer", "compare"))
    assert callable(peer[work])
    row = {"work": work, "dtype": "float32", "tokens": 1000}
    rates = {"threads": 2} | {f"{kind}_float32_gflop_s_2": 1.0 for kind in ("training", "decoding")}
    share = compare["share"](row, 2.0, rates, 10**6)
    assert share == pytest.approx({"generate": 1, "sft": 3, "grpo": 4, "dpo": 4}[work])
    assert compare["share"](row, 2.0, rates | {"training_float32_gflop_s_2_apart": 2.0}, 10**6) <= share
