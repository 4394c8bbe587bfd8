"""Scored texts: which tokens are actions, and where rewards stand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.batches.rows import batch_of
from penchant.batches.scored import Piece, scored_item, scored_items
from penchant.data.convert import convert
from penchant.errors import InputError
from penchant.text.template import Template
from penchant.text.tokenizer import Tokenizer

CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|endoftext|>\n{% endfor %}" \
       "{% if add_generation_prompt %}<assistant>{% endif %}"  # fmt: skip


@pytest.fixture(scope="module")
def template():
    return Template(Tokenizer.train(["say words to me and I answer them\n" * 20], 300), CHAT)


tokens = st.lists(st.integers(0, 9), min_size=1, max_size=4)
pieces = st.lists(st.tuples(tokens, st.booleans(), st.floats(-3, 3, width=32)), max_size=6)


@settings(deadline=None)
@given(rest=pieces)
def test_rewards_stand_at_the_last_token_of_what_earned_them(rest):
    told = [Piece(ids, acts, reward if acts else 0.0) for ids, acts, reward in rest]
    item = scored_item([Piece([1, 2], False), *told])
    assert item.prompt == (1, 2)
    kept, rewards = item.keep[0], item.columns["rewards"][0]
    assert len(kept) == len(rewards) == len(item.completions[0])
    assert kept.sum() == sum(len(ids) for ids, acts, _ in rest if acts)
    assert not rewards[~kept].any()
    assert rewards.sum() == pytest.approx(sum(reward for _, acts, reward in rest if acts), abs=1e-4)
    if any(acts for _, acts, _ in rest):
        assert kept[-1]  # nothing is read that nobody acts on


def test_a_batch_has_the_actions_as_labels_in_order():
    items = [
        scored_item([Piece([5], False), Piece([6, 7], True, 1.0), Piece([8], False), Piece([9], True, [2.0])]),
        scored_item([Piece([4, 3], False), Piece([2], True, -1.0)]),
    ]
    batch = batch_of(items, None)
    assert batch.labels.tolist() == [6, 7, 9, 2]
    assert batch.unit.tolist() == [0, 0, 0, 1]
    assert batch.columns["rewards"].tolist() == [0, 1, 2, -1]
    assert batch.inputs[batch.at].tolist() == [5, 6, 8, 3]  # the states: all tokens before the action


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ([Piece([1])], "begins with"),
        ([Piece([], False), Piece([1])], "begins with"),
        ([Piece([1], False), Piece([2], True, [1.0, 2.0])], "2 rewards for 1 tokens"),
        ([Piece([1], False), Piece([2], False, 1.0), Piece([2])], "did not write"),
        ([Piece([1], False), Piece([], True, 1.0)], "empty text"),
    ],
)
def test_rewards_without_an_action_are_refused(told, problem):
    with pytest.raises(ValueError, match=problem):
        scored_item(told)


def test_a_completion_its_end_and_its_score(template):
    kind, columns = convert({"prompt": "say ", "completion": "words", "reward": 2})
    assert kind == "scored"
    (item,) = scored_items(template, columns)
    assert item.completions[0][-1] == template.tokenizer.eos_id
    assert item.keep[0].all()
    assert item.columns["rewards"][0].tolist() == [0.0] * (len(item.keep[0]) - 1) + [2.0]
    numbers = list(np.arange(len(item.keep[0]), dtype=float))
    (own,) = scored_items(template, {**columns, "rewards": numbers})
    assert own.columns["rewards"][0].tolist() == numbers
    with pytest.raises(InputError, match="rewards for"):
        scored_items(template, {**columns, "rewards": [1.0]})


def test_several_completions_of_a_prompt(template):
    kind, columns = convert({"prompt": "say ", "completions": ["words", "me"], "rewards": [1, -1]})
    assert kind == "scored_list"
    items = scored_items(template, columns)
    assert [item.columns["rewards"][0][-1] for item in items] == [1.0, -1.0]
    assert items[0].prompt == items[1].prompt
    with pytest.raises(InputError, match="2 completions and 1 scores"):
        scored_items(template, {**columns, "scores": [1.0]})


def test_of_a_conversation_the_assistants_turns_are_actions(template):
    turns = [("assistant", "say"), ("user", "words"), ("assistant", "answer"), ("user", "me")]
    messages = [{"role": role, "content": said} for role, said in turns]
    row = {"prompt": [{"role": "user", "content": "I"}], "completion": messages, "score": 3.0}
    (item,) = scored_items(template, row)
    ids, keep, decode = np.array(item.completions[0]), item.keep[0], template.tokenizer.decode
    assert decode(list(item.prompt)).endswith("<assistant>")
    assert decode(ids[keep].tolist()) == "sayanswer"
    assert (ids[keep] == template.tokenizer.eos_id).sum() == 2  # each turn's end is chosen too
    assert decode(ids.tolist()) == "say\n<user>words\n<assistant>answer"
    assert item.columns["rewards"][0].tolist() == [0.0] * (len(ids) - 1) + [3.0]
    (each,) = scored_items(template, {**row, "rewards": [1.0, 2.0]})
    assert each.columns["rewards"][0][keep & (ids == template.tokenizer.eos_id)].tolist() == [1.0, 2.0]
    with pytest.raises(InputError, match="3 rewards for 2 turns"):
        scored_items(template, {**row, "rewards": [1.0, 2.0, 3.0]})
