"""The benchmarks of a real model, end to end with a random one: every row is tuned, measured and kept."""

import gzip
import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.load import save_model
from penchant.text.tokenizer import Tokenizer

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(FOLDER))
import _real  # noqa: E402
import sentiment  # noqa: E402

CHAT = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}\n"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
NOUNS = ["film", "plot", "school", "law", "model", "loss", "reader", "side"]
VERBS = ["wins", "fails", "moves", "bores", "learns", "helps"]


def sentence(rng, n):
    return " ".join(f"{rng.choice(NOUNS)} {rng.choice(VERBS)}" for _ in range(n))


def write(path, rows):
    with gzip.open(path, "wt") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A random model with a chat template, and files of the real data's columns."""
    root, rng = tmp_path_factory.mktemp("real"), random.Random(0)
    for part, n in (("train", 120), ("dev", 12)):
        write(root / f"sst2_{part}.jsonl.gz", [{"text": sentence(rng, 3), "label": i % 2} for i in range(n)])
        talks = [{"dialogue": sentence(rng, 9), "summaries": [sentence(rng, 5), sentence(rng, 4)]} for _ in range(n)]
        write(root / f"dialogsum_{'dev' if part == 'train' else '3refs'}.jsonl.gz", talks)
    pairs = [
        {"id": f"p{i}", "debate": f"d{i % 13}", "stance": "yes", "a1": sentence(rng, 4), "a2": sentence(rng, 6),
         "gold": ("a1", "a2", "equal", None)[i % 4]} for i in range(900)
    ]  # fmt: skip
    write(root / "ukp_convarg1_pairs.jsonl.gz", pairs)
    said = [sentiment.ASK, "Sum up this dialogue in one or two sentences. Debate: Side: argument", *NOUNS, *VERBS]
    tokenizer = Tokenizer.train([*said, sentence(rng, 400), "positive negative"] * 3, 400, control=())
    tokenizer.chat_template = CHAT
    ids = {"bos_token_id": tokenizer.eos_id, "eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id}
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "max_position_embeddings": 640}
    config = DecoderConfig(vocab_size=tokenizer.vocab_size, initializer_range=0.1, **sizes, **ids)
    (root / "model").mkdir()
    save_model(Decoder(config).initialise(0), root / "model")
    tokenizer.save(root / "model")
    return root


def ran(world, script, *words):
    command = [sys.executable, str(FOLDER / f"{script}.py"), str(world / "model"), "--data", str(world),
               "--runs", str(world / script), "--device", "cpu", "--steps-scale", "0.03", *words]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)


def kept(world, script, name, seed=0, split="test"):
    return json.loads((world / script / f"{name}-{seed}-x0.03-{split}.json").read_text())


@pytest.mark.slow
def test_every_row_of_sentiment(world):
    done = ran(world, "sentiment")
    assert done.returncode == 0, done.stderr[-3000:]
    for name in sentiment.ROWS:
        assert f"| {name} | " in done.stdout
    assert kept(world, "sentiment", "rloo")["dead groups"] is not None
    assert kept(world, "sentiment", "sft")["dead groups"] is None
    assert "| sft, then rloo | sft | " in done.stdout  # its gain
    again = ran(world, "sentiment")  # what is finished is not run again
    assert done.stdout.endswith(again.stdout)
    assert "finished in" in done.stderr
    assert "finished in" not in again.stderr


@pytest.mark.slow
def test_rows_over_seeds_make_the_row_they_start_from(world):
    done = ran(world, "sentiment", "--seeds", "1,2", "--rows", "sft, then grpo", "--jobs", "2")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "12 rows of test, training seeds 1, 2; mean ± standard error" in done.stdout
    assert " ± " in done.stdout.splitlines()[-1]
    assert kept(world, "sentiment", "sft", 2)["rows"] == 12
    wrong = ran(world, "summaries", "--rows", "sft; no such row")
    assert wrong.returncode == 2
    assert "no row 'no such row'; there are base; sft" in wrong.stderr


@pytest.mark.slow
def test_preferences_are_measured_against_the_row_they_began_with(world):
    done = ran(world, "preferences")
    assert done.returncode == 0, done.stderr[-3000:]
    sft, dpo, ipo, judge = (kept(world, "preferences", name) for name in ("sft", "dpo", "ipo", "reward-model"))
    assert dpo["chosen before"] == pytest.approx(sft["chosen after"])
    assert ipo["chosen after"] == pytest.approx(np.mean(ipo["items"]["chosen"]))
    gaps = [np.subtract(ipo["items"][side], sft["items"][side]) for side in ("chosen", "rejected")]  # nats a token
    right = (gaps[0] > gaps[1]) + 0.5 * (gaps[0] == gaps[1])
    assert ipo["accuracy"][0] == pytest.approx(right.mean(), abs=0.02)  # a tie of one is not always one of the other
    for one in (dpo, judge):
        assert 0 <= one["ece"] <= 1
        assert 0 <= one["brier"] <= 1
    assert "ece" not in sft
    assert sft["accuracy"][0] == pytest.approx(sft["by logprobs"])
    debates = [
        {json.loads(c)["debate"] for c in _columns(world / "preferences" / "data" / f"{part}.parquet")}
        for part in ("train", "validation", "test")
    ]
    assert all(debates)
    assert not (debates[0] & debates[1] | debates[0] & debates[2] | debates[1] & debates[2])


@pytest.mark.slow
def test_summaries_on_validation(world):
    done = ran(world, "summaries", "--split", "validation")
    assert done.returncode == 0, done.stderr[-3000:]
    found = kept(world, "summaries", "sft-then-grpo", split="validation")
    assert 0 <= found["ROUGE"][1] <= found["ROUGE"][0] <= found["ROUGE"][2] <= 1
    assert found["ROUGE"][0] == pytest.approx(np.mean(found["items"]["ROUGE"]))
    assert len(found["texts"]) == found["rows"]
    assert "| sft, then grpo | sft | " in done.stdout


def _columns(path):
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pydict()["columns"]


def test_intervals_of_single_items_are_those_of_a_mean():
    values = np.random.default_rng(0).normal(3.0, 1.0, 400)
    value, low, high = _real.interval(values, [[str(i) for i in range(400)]])
    assert value == pytest.approx(values.mean())
    assert (high - low) / 2 == pytest.approx(1.96 / 20, rel=0.15)


def test_texts_that_stand_in_many_pairs_make_intervals_wide():
    """30 texts, each pair's outcome is what its first text says: 30 facts, not 870."""
    rng = np.random.default_rng(1)
    fact = rng.integers(0, 2, 30)
    pairs = [(a, b) for a in range(30) for b in range(30) if a != b]
    outcome = [fact[a] for a, _ in pairs]
    ways = [[f"t{pair[side]}" for pair in pairs] for side in (0, 1)]
    _, low, high = _real.interval(outcome, ways)
    _, alone_low, alone_high = _real.interval(outcome, [[str(i) for i in range(len(pairs))]])
    expected = 2 * 1.96 * np.sqrt(fact.mean() * (1 - fact.mean()) / 30)
    assert high - low == pytest.approx(expected, rel=0.3)
    assert high - low > 3 * (alone_high - alone_low)


def test_a_cell_has_an_interval_or_a_standard_error():
    assert _real._cell([[0.5, 0.4, 0.61]]) == "0.500 [0.400, 0.610]"
    assert _real._cell([[0.4, 0, 1], [0.6, 0, 1]]) == "0.500 ± 0.100"
    assert _real._cell([None, 0.5]) == ""
    assert _real._cell([float("nan")]) == ""
    assert _real._cell([]) == ""


def test_auc_is_the_share_of_pairs_in_order():
    assert sentiment._auc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([0, 0, 1, 1])) == pytest.approx(3.5 / 4)
