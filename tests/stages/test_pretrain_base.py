"""An existing model trained on: control tokens beside its own, room for them, and a folder that transformers reads."""

import json

import numpy as np
import pytest
import torch

from penchant import api
from penchant.contracts import StageContext
from penchant.data.store import write_documents
from penchant.errors import InputError
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.load import load_model, save_model
from penchant.models.quantities import sequence_logprobs
from penchant.models.widen import widened
from penchant.records import Document
from penchant.stages.pretrain import Options, run
from penchant.text.tokenizer import Tokenizer

TEXT = "the cat sat\non the mat\nand slept\n"
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 64}  # fmt: skip
SHORT = {"steps": 4, "batch_size": 4, "context": 32, "eval_steps": 2, "save_steps": 2, "sample_tokens": 4,
         "eval_tokens": 200, "dtype": "float32", "micro_batch_size": 4,
         "optimizer": {"name": "adamw", "learning_rate": 1e-2, "schedule": "constant"}}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Prepared data with ages, and models without control tokens: tied, untied, and GPT-2."""
    folder = tmp_path_factory.mktemp("base")
    rng = np.random.default_rng(0)
    ends = tuple(int(i) + 1 for i in np.flatnonzero([c == "\n" for c in TEXT]))
    for split in ("train", "validation"):
        documents = [
            Document(str(i), TEXT, ends, {"style": tuple(rng.normal(size=3))}, {"age": 20 + i}) for i in range(40)
        ]
        write_documents(folder / "data" / f"{split}.parquet", documents)
    (folder / "data" / "summary.json").write_text(json.dumps({"signals": {"style": {"quantiles": {"0.5": 0.0}}}}))
    tokenizer = Tokenizer.train([TEXT], 270, control=())
    ids = {"bos_token_id": tokenizer.eos_id, "eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id}
    for name, tied in (("tied", True), ("untied", False)):
        config = DecoderConfig(vocab_size=tokenizer.vocab_size, tie_word_embeddings=tied, **SIZES, **ids)
        (folder / name).mkdir()
        save_model(Decoder(config).initialise(0), folder / name)
        tokenizer.save(folder / name)
    from transformers import GPT2Config, GPT2LMHeadModel

    gpt2 = GPT2LMHeadModel(
        GPT2Config(vocab_size=tokenizer.vocab_size, n_positions=64, n_embd=32, n_layer=2, n_head=4, **ids)
    )
    gpt2.save_pretrained(folder / "gpt2")
    tokenizer.save(folder / "gpt2")
    return folder


def pretrain(root, folder, name, **changes):
    folder.mkdir(exist_ok=True)
    inputs = {"data": root / "data", "base": root / name}
    return run(
        Options(**{**SHORT, **changes}), StageContext("pretrain", folder, inputs, 0, 1, lambda: 0, lambda text: None)
    )


@pytest.mark.parametrize("name", ["tied", "untied", "gpt2"])
def test_new_tokens_leave_the_old_ones_as_they_were(root, name):
    """Logits of old tokens are the same bits; a new one is about as likely as a mean token."""
    model = load_model(root / name)
    size = model.config.vocab_size
    ids = [5, 6, 7, 8, 9]

    def logits(model):
        with torch.no_grad():
            states = model(torch.tensor(ids), torch.arange(5), torch.tensor([5]))
            return states @ model.head.T

    before = logits(model)
    wide = widened(model, size + 3)
    assert wide.config.vocab_size == size + 3
    after = logits(wide)
    torch.testing.assert_close(after[:, :size], before, rtol=1e-5, atol=1e-6)
    gap = after[:, size:] - before.mean(1, keepdim=True)
    assert gap.abs().max() < 0.1 * before.std()
    assert widened(wide, size) is wide


@pytest.mark.parametrize("name", ["tied", "untied", "gpt2"])
def test_new_tokens_may_begin_as_words(root, name):
    """A new token's embedding is that of its words, and what follows it is what follows them."""
    model = load_model(root / name)
    size = model.config.vocab_size
    wide = widened(model, size + 2, like={size: [7], size + 1: []})

    def states(first):
        with torch.no_grad():
            return wide(torch.tensor([first, 6, 9]), torch.arange(3), torch.tensor([3]))[-1]

    near, far = (states(size) - states(7)).abs().max(), (states(size + 1) - states(7)).abs().max()
    assert near < 0.1 * far


@pytest.mark.parametrize(("name", "objective"), [("tied", "conditional"), ("untied", "awr"), ("gpt2", "conditional")])
def test_it_is_trained_on_and_read_by_transformers(root, tmp_path, name, objective):
    """The loss falls from that of the model it began as; control tokens are new; logits are transformers' own."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    summary = pretrain(root, tmp_path, name, objective={"name": objective})
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [row["eval_loss"] for row in rows if "eval_loss" in row]
    assert losses[-1] < losses[0] and summary["best_step"] == 4
    folder = tmp_path / "model"
    theirs, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    old = Tokenizer.load(root / name)
    ours = Tokenizer.load(folder)
    assert ours.control_ids == {"good": old.vocab_size, "bad": old.vocab_size + 1}
    assert tokenizer.convert_tokens_to_ids("<|good|>") == ours.control_ids["good"]
    assert ours.encode(TEXT) == old.encode(TEXT) == tokenizer(TEXT, add_special_tokens=False).input_ids
    ids = [ours.eos_id, ours.control_ids["good"], *ours.encode(TEXT)][:20]
    mine = sequence_logprobs(load_model(folder), [ids])[0]
    with torch.no_grad():
        wanted = theirs(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    np.testing.assert_allclose(mine, wanted[range(len(ids) - 1), ids[1:]].numpy(), atol=2e-5)
    if objective == "conditional":
        assert isinstance(api.load(folder).generate("the", ask="good", max_new_tokens=4)[0], str)


def test_profiles_get_tokens_and_guide(root, tmp_path):
    """Ages in bands lead the texts of an existing model, and are asked for by the policy."""
    attributes = {"age": {"bands": [40], "least": 5}}
    pretrain(root, tmp_path, "tied", objective={"name": "profile", "attributes": attributes})
    policy = api.load(tmp_path / "model")
    assert policy.layout.profile == ("age=40+", "age=<40") or policy.layout.profile == ("age=<40", "age=40+")
    plain = policy.generate("the", profile=["age=40+"], max_new_tokens=5, seed=1)
    assert policy.generate("the", profile=["age=40+"], guidance=1.0, max_new_tokens=5, seed=1) == plain
    with pytest.raises(InputError, match="knows no profile 'age=50'; it knows age="):
        policy.generate("the", profile=["age=50"])
    with pytest.raises(InputError, match="guidance without a profile"):
        policy.generate("the", guidance=2.0)
    ids = policy.tokenizer.encode(TEXT)[:12]
    text = policy.tokenizer.decode(ids)
    (given,) = policy.logprobs([text], profile=["age=40+"])
    led = [policy.tokenizer.eos_id, policy.tokenizer.control_ids["age=40+"], *ids]
    np.testing.assert_array_equal(given, sequence_logprobs(policy.model, [led])[0][1:])
    assert len(given) == len(policy.logprobs([text])[0]) == len(ids)
    with pytest.raises(InputError, match="knows no profile 'age=50'"):
        policy.logprobs([text], profile=["age=50"])


def test_what_cannot_be_a_base_is_refused(root, tmp_path):
    with pytest.raises(InputError, match="context 128 passes the model's 64 positions"):
        pretrain(root, tmp_path / "long", "tied", context=128)
    from transformers import BertConfig, BertForMaskedLM

    (root / "bert").mkdir(exist_ok=True)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertForMaskedLM(BertConfig(vocab_size=300, **sizes)).save_pretrained(root / "bert")
    Tokenizer.load(root / "tied").save(root / "bert")
    with pytest.raises(InputError, match="is no decoder"):
        pretrain(root, tmp_path / "masked", "bert")


def test_a_pad_that_is_the_end_is_mended():
    """A tokenizer like Llama's, whose pad is its end: with control tokens it gets a pad of its own."""
    tokenizer = Tokenizer.train([TEXT], 270, control=())
    same = Tokenizer(tokenizer._backend, tokenizer.end, tokenizer.end, {"eos_token": tokenizer.end})
    assert same.pad_id == same.eos_id
    grown = same.with_control(("good",))
    assert grown.pad_id != grown.eos_id and "good" in grown.control_ids
    assert grown.with_control(("good",)).vocab_size == grown.vocab_size
