"""A signal trained from labels: it learns, keeps, calibrates, is judged on unseen texts, and says what is wrong."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")
from penchant.contracts import Context
from penchant.errors import DataRejected, InputError
from penchant.plugins import plug
from penchant.records import Segment
from penchant.signals._linear import fit, load
from penchant.stages._classifier import go, measured, read_texts

DATA = os.environ.get("PENCHANT_DATA")
GOOD, BAD = ("lovely", "great", "kind", "happy"), ("awful", "sad", "rude", "broken")


def written(path, count=300, seed=0, noise=0.1, **more):
    """Texts whose label shows in one word, some labels wrong."""
    rng = np.random.default_rng(seed)
    with open(path, "w") as out:
        for i in range(count):
            label = int(rng.integers(2))
            word = rng.choice(GOOD if label else BAD)
            said = label if rng.random() > noise else 1 - label
            out.write(json.dumps({"text": f"a {word} thing number {i}", "label": said, **more}) + "\n")
    return str(path)


def trained(tmp_path, data, **options):
    given = {"text": "text", "label": "label", "values": {}, "validation": None, "test": None, "also": [], "soft": True}
    return go(data, str(tmp_path / "out"), **{**given, **options})


def test_it_learns_keeps_and_scores(tmp_path):
    found = trained(tmp_path, written(tmp_path / "d.jsonl"))
    assert found["test"]["accuracy"][0] > 0.8
    low, high = found["test"]["accuracy"][1:]
    assert low < found["test"]["accuracy"][0] < high
    assert sum(found["texts"].values()) == 300
    signal = plug("signals", {"name": "classifier", "model": str(tmp_path / "out")}, Context())
    scores = signal([Segment(text, 0) for text in ("so lovely and kind", "awful and rude", " \n")])
    assert scores[0] > 0.7 > 0.3 > scores[1] and scores[2] == 0.5
    other = plug("signals", {"name": "classifier", "model": str(tmp_path / "out"), "label": "0"}, Context())
    assert other([Segment("so lovely", 0)])[0] == pytest.approx(1 - signal([Segment("so lovely", 0)])[0])
    model = load(tmp_path / "out")
    again = load(tmp_path / "out")
    np.testing.assert_array_equal(model.probabilities(["a", "b c"]), again.probabilities(["a", "b c"]))
    assert json.loads((tmp_path / "out" / "card.json").read_text())["labels"] == ["0", "1"]
    assert "| test |" in (tmp_path / "out" / "README.md").read_text()


def test_measures_against_sums_written_out():
    """Accuracy and macro F1 of a model whose predictions are known."""
    texts = ["aa", "bb", "aa", "bb", "bb"]
    model = fit(["aa", "bb"] * 3, np.eye(2)[[0, 1] * 3], ("x", "y"), 100.0)
    assert model.probabilities(["aa", "bb"]).argmax(1).tolist() == [0, 1]
    from penchant.stages._classifier import Texts

    found = measured(model, Texts(texts, np.eye(2)[[0, 1, 1, 1, 0]], {}))
    assert found["accuracy"][0] == pytest.approx(3 / 5)
    assert found["macro_f1"][0] == pytest.approx((2 * 1 / (2 * 1 + 1 + 1) + 2 * 2 / (2 * 2 + 1 + 1)) / 2)
    assert found["majority_label"] == pytest.approx(3 / 5)


def test_distributions_are_learned_as_such(tmp_path):
    """A text that a third of the raters calls 1 is predicted so, not as 0."""
    with open(tmp_path / "d.jsonl", "w") as out:
        for i in range(400):
            third = i % 2
            p = 1 / 3 if third else 0.95
            row = {
                "text": f"{'murky' if third else 'clear'} case {i}",
                "label": "1",
                "probabilities": {"0": 1 - p, "1": p},
            }
            out.write(json.dumps(row) + "\n")
    found = trained(tmp_path, str(tmp_path / "d.jsonl"))
    p = load(tmp_path / "out").probabilities(["murky case", "clear case"])[:, 1]
    np.testing.assert_allclose(p, [1 / 3, 0.95], atol=0.08)
    entropy = -np.mean([q * np.log(q) + (1 - q) * np.log(1 - q) for q in (1 / 3, 0.95)])
    assert found["test"]["cross_entropy"] == pytest.approx(entropy, abs=0.05)


def test_no_text_is_on_two_sides(tmp_path, capsys):
    """Of training texts in a test of its own, and of another set in training, in whatever typesetting."""
    data = written(tmp_path / "d.jsonl", 200)
    rows = [json.loads(line) for line in Path(data).read_text().splitlines()]
    (tmp_path / "t.jsonl").write_text(
        "".join(json.dumps({**row, "text": row["text"].upper() + " !"}) + "\n" for row in rows[:50])
    )
    fresh = [{"text": f"a {w} story {i}", "label": int(w in GOOD)} for i in range(5) for w in (*GOOD, *BAD)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, *fresh]))
    found = trained(tmp_path, data, test=str(tmp_path / "t.jsonl"), also=[str(tmp_path / "a.jsonl")])
    said = capsys.readouterr().err
    assert "training texts are in validation or test too" in said and "texts were trained on: left out" in said
    assert found["texts"]["train"] <= 150 and found["texts"]["test"] == 50
    assert found["also"][str(tmp_path / "a.jsonl")]["texts"] <= 50 + len(fresh)


def test_chinese_takes_characters(tmp_path):
    texts = ["房间很好,服务热情", "太差了,很脏"] * 20
    model = fit(texts, np.eye(2)[[0, 1] * 20], ("好", "差"), 10.0)
    assert model.characters
    assert model.probabilities(["服务热情", "太脏"]).argmax(1).tolist() == [0, 1]


def test_what_is_wrong_is_said(tmp_path):
    same = written(tmp_path / "same.jsonl", 30, noise=0)
    with pytest.raises(DataRejected, match="every text has the label yes"):
        read_texts(same, "text", "label", {"0": "yes", "1": "yes"})
    with pytest.raises(InputError, match=r"same.jsonl, row 1: no column 'body'; the columns are text, label"):
        read_texts(same, "body", "label", {})
    with pytest.raises(InputError, match="label '1' is none of a, b"):
        read_texts(same, "text", "label", {"0": "a"}, ("a", "b"))
    (tmp_path / "holes.jsonl").write_text('{"text": "", "label": 1}\n{"text": "a", "label": 0}\n')
    with pytest.raises(DataRejected, match=r"holes.jsonl, row 1: empty text or label; 1 rows are unusable"):
        read_texts(str(tmp_path / "holes.jsonl"), "text", "label", {})
    left, _ = read_texts(written(tmp_path / "l.jsonl", 30, source="x"), "text", "label", {"0": "no", "1": "yes"})
    assert left.left_out == {}
    for made, words in ((tmp_path / "nowhere", "holds no classifier"), (tmp_path / "odd", "is no penchant linear")):
        made.mkdir(exist_ok=True)
        if made.name == "odd":
            (made / "classifier.json").write_text('{"kind": "other"}')
        with pytest.raises(InputError, match=words):
            plug("signals", {"name": "classifier", "model": str(made)}, Context())
    fit(["a", "b"], np.eye(2), ("x", "y"), 1.0).save(tmp_path / "m")
    with pytest.raises(InputError, match="no label 'z'; the labels are x, y"):
        plug("signals", {"name": "classifier", "model": str(tmp_path / "m"), "label": "z"}, Context())


@pytest.mark.slow
@pytest.mark.skipif(DATA is None, reason="PENCHANT_DATA is not set")
@pytest.mark.parametrize(("name", "least"), [("sst2_train", 0.77), ("chnsenticorp_hotel_zh", 0.83)])
def test_on_reviews_in_two_languages(tmp_path, name, least):
    found = trained(tmp_path, f"{DATA}/sentiment/{name}.jsonl.gz")
    assert found["test"]["accuracy"][0] > least
    assert found["test"]["ece"][0] < 0.08


def encoder_folder(folder, texts):
    """A BERT of a few weights with a tokenizer that puts [CLS] and [SEP] around a text."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = sorted({word for text in texts for word in text.split()})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    known = {word: i for i, word in enumerate([*special, *words])}
    backend = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    around = [(name, known[name]) for name in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=around)
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **named).save_pretrained(folder)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(vocab_size=len(known), max_position_embeddings=24, **sizes)
    transformers.BertModel(config).save_pretrained(folder)
    return str(folder)


def test_an_encoder_is_fine_tuned_and_serves_as_a_signal(tmp_path, capsys):
    import torch

    from penchant.models.encoder import Encoder
    from penchant.stages.signal import EncoderOptions

    data = written(tmp_path / "d.jsonl", 400, noise=0.0)
    texts = [json.loads(line)["text"] for line in Path(data).read_text().splitlines()]
    folder = encoder_folder(tmp_path / "bert", texts)
    options = EncoderOptions(folder=folder, epochs=8, learning_rate=5e-3, max_length=6)
    found = trained(tmp_path, data, encoder=options)
    assert found["test"]["accuracy"][0] > 0.9
    told = capsys.readouterr().err
    assert "training texts are cut at 6 tokens" in told and "cross-entropy" in told
    assert found["encoder"]["epochs"] == 8
    signal = plug("signals", {"name": "classifier", "model": str(tmp_path / "out")}, Context())
    good, bad = signal([Segment("a lovely thing", 0), Segment("a rude thing", 0)])
    assert good > 0.7 > 0.3 > bad
    assert "Fine-tuned from `bert`" in (tmp_path / "out" / "README.md").read_text()
    # Rows of a batch do not see each other, and a state is the mean of transformers' own.
    encoder = Encoder.load(folder, 24)
    ids, _ = encoder.ids(["a lovely thing number 3", "rude"])
    flat, lengths = torch.tensor([*ids[0], *ids[1]]), torch.tensor([len(one) for one in ids])
    with torch.no_grad():
        states = encoder(flat, flat, lengths)[lengths.cumsum(0) - 1]
        wanted = torch.stack([encoder.inner(torch.tensor([one])).last_hidden_state[0].mean(0) for one in ids])
    torch.testing.assert_close(states, wanted, rtol=1e-4, atol=1e-5)
    (tmp_path / "out" / "encoder" / "heads.safetensors").unlink()
    with pytest.raises(InputError, match="holds no head"):
        load(tmp_path / "out")


def test_a_training_that_is_asked_to_stop_does_and_goes_on_to_the_same_bits(tmp_path, capsys):
    from penchant.errors import Stopped
    from penchant.stages.signal import EncoderOptions

    data = written(tmp_path / "d.jsonl", 120)
    folder = encoder_folder(
        tmp_path / "bert", [json.loads(line)["text"] for line in Path(data).read_text().splitlines()]
    )
    options = EncoderOptions(folder=folder, epochs=20, device="cpu")
    wanted = trained(tmp_path, data, encoder=options)
    assert not (tmp_path / "out" / "training").exists()
    (tmp_path / "out").rename(tmp_path / "whole")
    steps = iter([0] * 17 + [15])
    with pytest.raises(Stopped):
        trained(tmp_path, data, encoder=options, stop=lambda: next(steps))
    assert next(steps, None) is None
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["training"]
    capsys.readouterr()
    found = trained(tmp_path, data, encoder=options)
    assert "going on from step 18" in capsys.readouterr().err
    assert found["test"] == wanted["test"] and found["temperature"] == wanted["temperature"]
    files = ("encoder/model.safetensors", "encoder/heads.safetensors")
    assert all((tmp_path / "out" / f).read_bytes() == (tmp_path / "whole" / f).read_bytes() for f in files)
    steps = iter([0, 0, 15])
    with pytest.raises(Stopped):
        trained(tmp_path, data, encoder=options, stop=lambda: next(steps))
    trained(tmp_path, data, encoder=options.model_copy(update={"epochs": 2}))  # another training begins anew
    assert "going on" not in capsys.readouterr().err


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path):
    from penchant.stages.signal import EncoderOptions

    data, own = written(tmp_path / "d.jsonl", 120), tmp_path / "out" / "training" / "notes.txt"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    with pytest.raises(InputError, match="is none of ours; give another --output"):
        trained(tmp_path, data, encoder=EncoderOptions(folder=str(tmp_path / "bert")))
    trained(tmp_path, data)
    assert own.read_text() == "mine"


def test_what_is_no_encoder_is_refused(tmp_path):
    from penchant.commands._signal_train import encoder_options
    from penchant.errors import OptionError
    from penchant.stages.signal import EncoderOptions

    data = written(tmp_path / "d.jsonl")
    with pytest.raises(InputError, match="transformers cannot load it"):
        trained(tmp_path, data, encoder=EncoderOptions(folder=str(tmp_path / "nowhere")))
    with pytest.raises(OptionError, match="--set epoch: "):
        encoder_options("bert", ["epoch=2"])
    with pytest.raises(OptionError, match="--set is of --encoder"):
        encoder_options(None, ["epochs=2"])
    assert encoder_options("bert", ["epochs=2"]).epochs == 2
