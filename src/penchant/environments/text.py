"""Text as an environment: states are what has been written so far, actions are tokens; N episodes go in step.

What the policy wrote is never tokenized again, and what an environment says is appended as tokens of its own, which
carry no loss. An action is one token, a sentence or a whole turn (`granularity`); the environment answers when a turn
ends.

    env = TextEnvironment(dialogue, Template(tokenizer), limit=64, end=(tokenizer.eos_id,))
    states = env.reset(prompts)
    outcome = env.step([policy(state.ids) for state in states])   # outcome.rewards, .terminated, .truncated, .infos
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from penchant.errors import InputError
from penchant.records import Completion, Prompt
from penchant.text.template import Template

__all__ = ["Dialogue", "Granularity", "Outcome", "Reply", "State", "TextEnvironment"]

Granularity = Literal["token", "sentence", "document"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What an environment says to a turn.

    Attributes:
        observation: messages `{"role", "content"}` that the policy reads before its next turn; None ends the episode.
        reward: for the turn.
        counts: what happened, by name; summed over the episode.
    """

    observation: Sequence[Mapping[str, str]] | None = None
    reward: float = 0.0
    counts: Mapping[str, float] = field(default_factory=dict)


class Dialogue(Protocol):
    """An environment plug-in (`environments/NAME.py` builds one).

    Attributes:
        turns: of the policy, at most.
        seconds: of an episode, at most; None for no limit.
        tools: JSON schemas that the policy is told of.
    """

    turns: int
    seconds: float | None
    tools: Sequence[Mapping[str, Any]]

    def respond(self, prompt: Prompt, messages: Sequence[Mapping[str, Any]], text: str) -> Reply:
        """To a turn's text, which is the last of the messages."""
        ...


@dataclass(frozen=True, slots=True)
class State:
    """Where an episode stands.

    Attributes:
        ids: the prompt and all that follows it, token ids.
        turn: the policy's turns so far.
        done: no action is taken in it any more.
    """

    ids: tuple[int, ...]
    turn: int
    done: bool


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of one action in each episode.

    Attributes:
        states: after it, observations included.
        rewards: float32 [N].
        terminated, truncated: bool [N]; truncated where a limit (of tokens, turns or seconds) ended it.
        infos: counts and, at an end, `completion`.
    """

    states: list[State]
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    infos: list[dict[str, Any]]


class _Episode:
    def __init__(self, prompt: Prompt, clock: float):
        self.prompt, self.began = prompt, clock
        self.asked = prompt.columns.get("prompt", prompt.text)
        self.messages: list[dict[str, Any]] = [] if isinstance(self.asked, str) else [dict(m) for m in self.asked]
        self.ids: list[int] = []
        self.logprobs: list[float] = []
        self.forced: list[bool] = []
        self.rewards: list[float] = []
        self.starts = [0]
        self.turn, self.stop, self.text = 0, "", ""
        self.counts: Counter[str] = Counter()

    def state(self) -> State:
        return State((*self.prompt.ids, *self.ids), self.turn, bool(self.stop))

    def completion(self) -> Completion:
        return Completion(
            tuple(self.ids),
            np.array(self.logprobs, np.float32),
            np.array(self.forced, bool),
            self.text,
            self.stop or "length",
            tuple(self.starts),
            np.array(self.rewards, np.float32),
            tuple(self.messages),
            dict(self.counts),
        )


class TextEnvironment:
    """Episodes of a dialogue.

    Args:
        limit: tokens after the prompt, observations included, at most.
        end: token ids that end a turn.
        granularity: what one action is; a `document` is a whole turn, with an end token or without.
        judge: (prompt, completion) -> a reward at the end of an episode, beside what the dialogue gives.
    """

    def __init__(
        self,
        dialogue: Dialogue,
        template: Template,
        *,
        limit: int,
        end: Sequence[int],
        granularity: Granularity = "document",
        judge: Callable[[Prompt, Completion], float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.dialogue, self.template, self.limit, self.end = dialogue, template, limit, frozenset(end)
        self.granularity, self.judge, self.clock = granularity, judge, clock
        self.episodes: list[_Episode] = []

    def reset(self, prompts: Sequence[Prompt]) -> list[State]:
        """Begin an episode of each prompt."""
        self.episodes = [_Episode(prompt, self.clock()) for prompt in prompts]
        return [episode.state() for episode in self.episodes]

    def room(self, number: int) -> int:
        """Tokens that an episode may still write."""
        return self.limit - len(self.episodes[number].ids)

    def step(
        self, actions: Sequence[Sequence[int]], logprobs: Sequence[Sequence[float] | np.ndarray] | None = None
    ) -> Outcome:
        """Act in each episode; those that are over take an empty action.

        Args:
            actions: token ids.
            logprobs: of each token under the policy, kept for the completion; by default 0.

        Raises:
            InputError: not one action an episode, one of the wrong size, or one in an episode that is over.
        """
        if len(actions) != len(self.episodes):
            raise InputError(f"{len(actions)} actions for {len(self.episodes)} episodes", "give one each")
        rewards = np.zeros(len(actions), np.float32)
        for number, (episode, action) in enumerate(zip(self.episodes, actions, strict=True)):
            self._check(number, episode, action)
            if len(action):
                given = np.zeros(len(action)) if logprobs is None else logprobs[number]
                rewards[number] = self._act(episode, [int(i) for i in action], [float(x) for x in given])
        ended = [episode.stop for episode in self.episodes]
        return Outcome(
            [episode.state() for episode in self.episodes],
            rewards,
            np.array([stop == "end" for stop in ended]),
            np.array([stop == "length" for stop in ended]),
            [{**e.counts, **({"completion": e.completion()} if e.stop else {})} for e in self.episodes],
        )

    def completions(self) -> list[Completion]:
        """What each episode has come to."""
        return [episode.completion() for episode in self.episodes]

    def _check(self, number: int, episode: _Episode, action: Sequence[int]) -> None:
        if episode.stop:
            if len(action):
                raise InputError(f"episode {number} is over", "give it an empty action, or reset")
        elif not len(action) or (self.granularity == "token" and len(action) != 1):
            wanted = "one token" if self.granularity == "token" else "at least one token"
            raise InputError(f"an action of {len(action)} tokens in episode {number}", f"give {wanted}")

    def _act(self, episode: _Episode, action: list[int], logprobs: list[float]) -> float:
        room = self.limit - len(episode.ids)
        if len(action) > room:
            episode.counts["tokens_cut"] += len(action) - room
            action, logprobs = action[:room], logprobs[:room]
        self._append(episode, action, logprobs, forced=False)
        ends = action[-1] in self.end
        if not ends and len(episode.ids) < self.limit and self.granularity != "document":
            return 0.0
        written = episode.ids[episode.starts[-1] :]
        episode.text = self.template.tokenizer.decode(written)
        episode.turn += 1
        episode.messages.append({"role": "assistant", "content": episode.text})
        if not ends and len(episode.ids) >= self.limit:
            return self._over(episode, "length", 0.0)
        reply = self.dialogue.respond(episode.prompt, episode.messages, episode.text)
        episode.counts.update(reply.counts)
        episode.rewards[-1] += reply.reward
        if reply.observation is None:
            return self._over(episode, "end", reply.reward)
        late = self.dialogue.seconds is not None and self.clock() - episode.began > self.dialogue.seconds
        if late or episode.turn >= self.dialogue.turns:
            episode.counts["out_of_time" if late else "out_of_turns"] += 1
            return self._over(episode, "length", reply.reward)
        asked = episode.asked if isinstance(episode.asked, str) else episode.messages
        seen = self.template.reply_ids(asked, reply.observation)
        if not ends:  # a whole turn without an end token of its own
            seen = [self.template.tokenizer.eos_id, *seen]
        if len(episode.ids) + len(seen) >= self.limit:  # no room to answer
            episode.counts["out_of_room"] += 1
            return self._over(episode, "length", reply.reward)
        episode.messages += [dict(message) for message in reply.observation]
        self._append(episode, seen, [0.0] * len(seen), forced=True)
        episode.starts.append(len(episode.ids))
        return reply.reward

    @staticmethod
    def _append(episode: _Episode, ids: Sequence[int], logprobs: Sequence[float], forced: bool) -> None:
        episode.ids += ids
        episode.logprobs += logprobs
        episode.forced += [forced] * len(ids)
        episode.rewards += [0.0] * len(ids)

    def _over(self, episode: _Episode, stop: str, reward: float) -> float:
        episode.stop = stop
        return reward if self.judge is None else reward + self.judge(episode.prompt, episode.completion())
