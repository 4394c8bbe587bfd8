"""Text as an environment: tokens in and out, tools, limits, Gymnasium's face; training sees what was sampled."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from penchant.batches.credit import Credited, earned, pack
from penchant.batches.episodes import Episodes
from penchant.batches.rollouts import Sampling
from penchant.batches.spread import _completion, _packed
from penchant.contracts import Context
from penchant.environments import _tools, multi_turn, single_turn
from penchant.environments.face import TextGym
from penchant.environments.granularity import actions
from penchant.environments.text import Reply, TextEnvironment
from penchant.errors import InputError
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.quantities import quantities, sequence_logprobs
from penchant.records import Completion, Prompt
from penchant.text.template import Template
from penchant.text.tokenizer import Tokenizer

TOOLS = Path(__file__).with_name("tools.py")
CHAT = (
    "{% for m in messages %}<{{ m.role }}>\n{{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}\n"
    "{% endfor %}{% if add_generation_prompt %}<assistant>\n{% endif %}"
)
CALL = '<tool_call>\n{"name": "calculate", "arguments": {"expression": "3 + 4"}}\n</tool_call>'
TEXT = f"How many? {CALL} The answer is 7.\n"


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train([TEXT * 20], 400)


def tools(**changes):
    options = multi_turn.Options(**({"tools": [f"{TOOLS}:calculate", f"{TOOLS}:sleep"]} | changes))
    return multi_turn.build(options, Context())


def chat(tokenizer, dialogue):
    return Template(tokenizer, CHAT, dialogue.tools)


def asked(template, question="How many?", **columns):
    messages = [{"role": "user", "content": question}]
    return Prompt(
        tuple(template.prompt_ids(messages)), template.prompt_text(messages), "q", {"prompt": messages, **columns}
    )


def written(tokenizer, text):
    return [*tokenizer.encode(text), tokenizer.eos_id]


def call(expression, name="calculate"):
    body = json.dumps({"name": name, "arguments": {"expression": expression}})
    return f"<tool_call>\n{body}\n</tool_call>"


def test_a_conversation_is_what_the_template_writes(tokenizer):
    """Prompt, turns and observations, end to end, are the ids of the whole conversation."""
    dialogue = tools()
    template = chat(tokenizer, dialogue)
    prompt = asked(template)
    env = TextEnvironment(dialogue, template, limit=400, end=(tokenizer.eos_id,))
    env.reset([prompt])
    first, second = written(tokenizer, call("3 + 4")), written(tokenizer, "The answer is 7.")
    between = env.step([first])
    assert not between.terminated[0] and not between.truncated[0] and between.states[0].turn == 1
    after = env.step([second])
    assert after.terminated[0] and after.states[0].done
    done = after.infos[0]["completion"]
    assert [m["role"] for m in done.messages] == ["user", "assistant", "tool", "assistant"]
    assert done.messages[2]["content"] == "7.0" and done.text == "The answer is 7."
    whole = template._rendered(done.messages, False)
    ids = tokenizer.encode_template(whole)
    assert [*prompt.ids, *done.ids] == ids[: len(prompt.ids) + len(done.ids)]
    chosen = [i for i, forced in zip(done.ids, done.forced, strict=True) if not forced]
    assert chosen == [*first, *second]  # nothing that was written was tokenized again
    assert done.turns == (0, len(done.ids) - len(second)) and done.counts == {"tools/calls": 1, "tools/failed": 0}
    assert "calculate" in prompt.text and '"expression"' in prompt.text  # told of the tools


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (call("2 +"), "SyntaxError"),
        (call("x"), "not arithmetic"),
        (call("1", "compute"), "there is no function compute"),
        ("<tool_call>{broken</tool_call>", "no JSON"),
        ('<tool_call>{"name": "calculate", "arguments": [1]}</tool_call>', "no JSON object"),
        ('<tool_call>{"name": "sleep", "arguments": {"seconds": 9}}</tool_call>', "TimeoutError"),
    ],
)
def test_what_goes_wrong_in_a_call_is_told_and_counted(tokenizer, text, told):
    dialogue = tools(call_seconds=0.05, failed_reward=-0.5)
    env = TextEnvironment(dialogue, chat(tokenizer, dialogue), limit=400, end=(tokenizer.eos_id,))
    env.reset([asked(env.template)])
    outcome = env.step([written(tokenizer, text)])
    assert told in env.episodes[0].messages[-1]["content"]
    assert outcome.rewards[0] == -0.5 and outcome.infos[0] == {"tools/calls": 1, "tools/failed": 1}


def test_limits_of_turns_seconds_and_tokens(tokenizer):
    now = [0.0]
    turn = written(tokenizer, call("1"))

    def run(limit=400, **changes):
        dialogue = tools(**changes)
        env = TextEnvironment(
            dialogue, chat(tokenizer, dialogue), limit=limit, end=(tokenizer.eos_id,), clock=lambda: now[0]
        )
        env.reset([asked(env.template)])
        while not env.episodes[0].stop:
            outcome = env.step([turn])
            now[0] += 10.0
        assert outcome.truncated[0] and not outcome.terminated[0]
        done = env.completions()[0]
        assert len(done.ids) <= limit and done.stop == "length" and not done.forced[-1]
        return env.episodes[0].turn, outcome.infos[0]

    assert run(turns=3)[0] == 3
    turns, info = run(seconds=15.0, turns=9)
    assert turns == 3 and info["out_of_time"] == 1
    turns, info = run(limit=len(turn) + 3, turns=9)
    assert turns == 1 and info["out_of_room"] == 1
    assert run(limit=len(turn) - 2, turns=9)[1]["tokens_cut"] == 2


@pytest.mark.parametrize("granularity", ["token", "sentence", "document"])
def test_any_granularity_comes_to_the_same_episode(tokenizer, granularity):
    dialogue = tools()
    template = chat(tokenizer, dialogue)
    env = TextEnvironment(dialogue, template, limit=400, end=(tokenizer.eos_id,), granularity=granularity)
    env.reset([asked(template)])
    for turn in (written(tokenizer, call("3 + 4")), written(tokenizer, "It is 7. Yes.")):
        size = {"token": 1, "sentence": 5, "document": len(turn)}[granularity]
        for a in range(0, len(turn), size):
            outcome = env.step([turn[a : a + size]])
    assert outcome.terminated[0] and outcome.infos[0]["completion"].text == "It is 7. Yes."
    with pytest.raises(InputError, match="is over"):
        env.step([[5]])
    env.reset([asked(template)])
    with pytest.raises(InputError, match="action of"):
        env.step([[5, 6] if granularity == "token" else []])


def test_actions_are_tokens_sentences_or_turns(tokenizer):
    one, seen, two = written(tokenizer, "It is 3. No, it is 4."), tokenizer.encode("hm"), written(tokenizer, "It is 7.")
    ids = (*one, *seen, *two)
    forced = np.array([False] * len(one) + [True] * len(seen) + [False] * len(two))
    done = Completion(ids, np.zeros(len(ids), np.float32), forced, "It is 7.", "end", (0, len(one) + len(seen)))
    assert actions(done, tokenizer, "token").tolist() == list(range(len(ids)))
    assert actions(done, tokenizer, "document")[~forced].tolist() == [0] * len(one) + [1] * len(two)
    by_sentence = actions(done, tokenizer, "sentence")
    texts = [tokenizer.decode([i for i, a, f in zip(ids, by_sentence, forced, strict=True) if a == n and not f])
             for n in range(3)]  # fmt: skip
    assert [t.strip() for t in texts] == ["It is 3.", "No, it is 4.", "It is 7."] and by_sentence.max() == 2


class Echo:
    """A dialogue that says back what was written, twice."""

    turns, seconds, tools = 3, None, ()

    def respond(self, prompt, messages, text):
        return Reply([{"role": "user", "content": f"more {len(text)}"}], 0.25, {"echoes": 1.0})


def made(tokenizer, seed=0):
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = DecoderConfig(vocab_size=tokenizer.vocab_size, num_key_value_heads=2, initializer_range=0.15, **sizes)
    return Decoder(config).initialise(seed)


def test_the_trainer_sees_the_sampled_logprobs_over_all_turns(tokenizer):
    """Prefixes are kept over turns, observations are no labels, and each label's log-prob is the sampler's."""
    torch.manual_seed(0)
    model, template = made(tokenizer), Template(tokenizer, CHAT)
    prompts = [asked(template, f"How many {n}?") for n in (1, 22, 333) for _ in range(2)]
    ban = tuple(i for i in tokenizer.special_ids if i != tokenizer.eos_id)
    episodes = Episodes(Echo(), template, 300, 0.7, (tokenizer.eos_id,), ban)
    with torch.no_grad():
        model.model.norm.weight.fill_(1.0)
        model.head[tokenizer.eos_id] += 0.4 * model.head.std()
    found = episodes.complete(model, tokenizer, prompts, seed=4, first=0)
    assert any(len(c.turns) > 1 for c in found) and {c.stop for c in found} == {"length"}
    for prompt, done in zip(prompts, found, strict=True):
        [whole] = sequence_logprobs(model, [[*prompt.ids, *done.ids]], 0.7)
        assert whole[len(prompt.ids) - 1 :].shape == done.logprobs.shape
        assert done.rewards.sum() == pytest.approx(0.25 * done.counts.get("echoes", 0))
    earns = [earned(c, len(c.text), tokenizer) for c in found]
    columns = {"advantages": [np.ones(len(c.ids), np.float32) for c in found]}
    rollout = Credited(prompts, found, earns, 2, columns, np.zeros(len(found), bool))
    batches = pack(rollout, 4, 1, shared=True, temperature=0.7, banned=ban)
    assert sum(len(b.labels) for b in batches) == sum(int((~c.forced).sum()) for c in found)
    for batch in batches:
        mine = quantities(model, batch, ("logprobs",))["logprobs"].detach().numpy()
        np.testing.assert_allclose(mine, batch.columns["rollout_logprobs"], atol=2e-5)
    again = episodes.complete(model, tokenizer, prompts[2:], seed=4, first=2)
    assert [c.ids for c in again] == [c.ids for c in found[2:]]  # whatever else is sampled beside
    back = _completion(json.loads(json.dumps(_packed(found[0]))))
    assert back.ids == found[0].ids and back.turns == found[0].turns and list(back.messages) == list(found[0].messages)
    np.testing.assert_array_equal(back.rewards, found[0].rewards)


def test_one_turn_draws_what_plain_sampling_draws(tokenizer):
    model, template = made(tokenizer), Template(tokenizer, CHAT)
    prompts = [asked(template, f"{n}?") for n in range(5)]
    ban = tuple(i for i in tokenizer.special_ids if i != tokenizer.eos_id)
    dialogue = single_turn.build(single_turn.Options(), Context())
    mine = Episodes(dialogue, template, 30, 1.0, (tokenizer.eos_id,), ban).complete(model, tokenizer, prompts, 3, 7)
    plain = Sampling(30, 1.0, (tokenizer.eos_id,), ban).complete(model, tokenizer, prompts, 3, 7)
    assert [c.ids for c in mine] == [c.ids for c in plain] and [c.stop for c in mine] == [c.stop for c in plain]
    for a, b in zip(mine, plain, strict=True):
        np.testing.assert_array_equal(a.logprobs, b.logprobs)


@pytest.mark.parametrize("granularity", ["token", "sentence", "document"])
def test_gymnasiums_checker_takes_it(tokenizer, granularity):
    from gymnasium.utils.env_checker import check_env

    dialogue = tools()
    template = chat(tokenizer, dialogue)
    env = TextEnvironment(
        dialogue, template, limit=40, end=(tokenizer.eos_id,), granularity=granularity,
        judge=lambda prompt, completion: float("7" in completion.text),
    )  # fmt: skip
    prompts = [asked(template, f"{n}?") for n in range(3)]
    face = TextGym(env, prompts, tokenizer.vocab_size, tokenizer.pad_id)
    check_env(face, skip_render_check=True)
    seen, info = face.reset(seed=1, options={"prompt": 2})
    assert tuple(seen[: info["length"]]) == prompts[2].ids
    if granularity != "token":
        seen, reward, terminated, truncated, info = face.step(tuple(written(tokenizer, "It is 7.")))
        assert reward == 1.0 and terminated and not truncated


def test_tools_are_described_or_refused():
    tool = _tools.load(f"{TOOLS}:calculate", 1.0)
    assert tool.schema["function"]["name"] == "calculate"
    assert tool.schema["function"]["parameters"]["required"] == ["expression"]
    with pytest.raises(InputError, match="cannot be described"):
        _tools.load(f"{TOOLS}:untyped", 1.0)
    for wrong in ("nothing", "missing.py:f", f"{TOOLS}:absent"):
        with pytest.raises(InputError, match=r"names no function|cannot be loaded"):
            _tools.load(wrong, 1.0)


def test_real_arithmetic_is_solved_with_the_calculator(tokenizer):
    """SVAMP's own equations as a scripted policy's calls: the tool's results are the rows' answers."""
    if "PENCHANT_DATA" not in os.environ:
        pytest.skip("PENCHANT_DATA is not set")
    path = Path(os.environ["PENCHANT_DATA"], "math", "svamp.jsonl.gz")
    with gzip.open(path, "rt", encoding="utf-8") as handle:
        rows = [json.loads(line) for line in handle][:100]
    dialogue = tools()
    template = chat(tokenizer, dialogue)
    env = TextEnvironment(dialogue, template, limit=2000, end=(tokenizer.eos_id,))
    env.reset([asked(template, f"{row['Body']}. {row['Question']}") for row in rows])
    outcome = env.step([written(tokenizer, call(row["Equation"])) for row in rows])
    results = [env.episodes[i].messages[-1]["content"] for i in range(len(rows))]
    outcome = env.step([written(tokenizer, f"The answer is {result}.") for result in results])
    assert outcome.terminated.all()
    right = [abs(float(r) - float(row["Answer"])) < 1e-6 for r, row in zip(results, rows, strict=True)]
    assert np.mean(right) == 1.0
