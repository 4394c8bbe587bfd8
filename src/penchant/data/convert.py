"""Rows of many shapes -> TRL's columns: prompt, completion, chosen, rejected, label, completions, labels, score.

Columns that a row has stay under their own names; what is made of them is added. Messages are lists of
`{"role", "content"}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["FORMATS", "UnusableError", "convert"]

# What a row can be, and the columns that make it so.
FORMATS = {
    "preference": ("prompt", "chosen", "rejected"),
    "stepwise": ("prompt", "completions", "labels"),
    "unpaired": ("prompt", "completion", "label"),
    "scored": ("prompt", "completion", "score"),
    "scored_list": ("prompt", "completions", "scores"),
    "prompt_completion": ("prompt", "completion"),
    "prompt_only": ("prompt",),
    "language_modeling": ("completion",),
}
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_TURN = re.compile(r"\n\n(Human|Assistant): ?")


class UnusableError(Exception):
    """A row that no format fits: `cause` and `detail`."""

    def __init__(self, cause: str, detail: str):
        super().__init__(detail)
        self.cause, self.detail = cause, detail


def convert(row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The format of a row and its columns.

    Raises:
        UnusableError: it has no prompt, its chosen answer is the rejected one, an answer is empty, or no column says
            anything.
    """
    found = {**row, **_made(row)}
    kind = next((name for name, needed in FORMATS.items() if all(found.get(c) is not None for c in needed)), None)
    if kind is None:
        raise UnusableError("missing column", f"the columns are {', '.join(map(str, list(row)[:8])) or 'none'}")
    if "prompt" in FORMATS[kind] and not _said(found["prompt"]):
        raise UnusableError("missing prompt", "the prompt is empty")
    for name in ("completion", "chosen", "rejected"):
        if name in FORMATS[kind] and not _said(found[name]):
            raise UnusableError("empty answer", f"{name} is empty")
    if kind == "preference" and _said(found["chosen"]) == _said(found["rejected"]):
        raise UnusableError("no preference", "chosen and rejected are equal")
    if kind == "stepwise" and (len(found["completions"]) != len(found["labels"]) or not found["labels"]):
        raise UnusableError("steps and labels", f"{len(found['completions'])} steps, {len(found['labels'])} labels")
    return kind, found


def _said(content: Any) -> str:
    if isinstance(content, str):
        return content.strip()
    return "\n".join(f"{m.get('role')}: {str(m.get('content') or '').strip()}" for m in content).strip()


def _made(row: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that a row's shape gives besides its own."""
    for test, make in _SHAPES:
        if all(name in row and row[name] is not None for name in test):
            return make(row)
    return {}


def _pair(row: Mapping[str, Any]) -> dict[str, Any]:
    """Chosen and rejected: with a prompt of their own, or with one that both begin with."""
    chosen, rejected = (_messages(row[name]) for name in ("chosen", "rejected"))
    if "conversation" in row and row["conversation"] is not None:
        return {"prompt": _messages(row["conversation"]), "chosen": chosen, "rejected": rejected}
    if row.get("prompt") is not None:
        return {"prompt": _messages(row["prompt"]), "chosen": chosen, "rejected": rejected}
    if isinstance(chosen, str) or isinstance(rejected, str):
        chosen, rejected = _dialogue(chosen), _dialogue(rejected)
    same = 0
    while same < min(len(chosen), len(rejected)) - 1 and chosen[same] == rejected[same]:
        same += 1
    if not same:
        raise UnusableError("missing prompt", "chosen and rejected have no common start")
    return {"prompt": chosen[:same], "chosen": chosen[same:], "rejected": rejected[same:]}


def _dialogue(text: Any) -> list[dict[str, str]]:
    """`\\n\\nHuman: ... \\n\\nAssistant: ...` as messages."""
    parts = _TURN.split(str(text))
    if len(parts) < 3:
        raise UnusableError("missing prompt", "no prompt column, and no turns of Human and Assistant")
    turns = zip(parts[1::2], parts[2::2], strict=True)
    return [{"role": "user" if who == "Human" else "assistant", "content": said.strip()} for who, said in turns]


def _messages(value: Any) -> Any:
    """A text as it is; messages in any spelling as `{"role", "content"}`."""
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, Sequence) or isinstance(value, str):
        return value
    found = []
    for one in value:
        role, said = one.get("role", one.get("from")), one.get("content", one.get("value"))
        if _ROLES.get(str(role)) is None or said is None:
            raise UnusableError(
                "broken messages", f"a message has role {role!r} and {'no ' if said is None else ''}content"
            )
        found.append({"role": _ROLES[str(role)], "content": str(said)})
    return found


def _conversation(row: Mapping[str, Any]) -> dict[str, Any]:
    messages = _messages(row.get("messages") or row.get("conversations"))
    if not messages:
        raise UnusableError("missing prompt", "a conversation without messages")
    if messages[-1]["role"] != "assistant":
        return {"prompt": messages}
    return {"prompt": messages[:-1], "completion": messages[-1:]}


def _instruction(row: Mapping[str, Any]) -> dict[str, Any]:
    asked = str(row["instruction"]) + (f"\n\n{row['input']}" if row.get("input") else "")
    return {"prompt": _user(asked), "completion": [{"role": "assistant", "content": str(row["output"])}]}


def _question(row: Mapping[str, Any]) -> dict[str, Any]:
    answers = row["answers"]
    texts = answers["text"] if isinstance(answers, Mapping) else answers
    if not texts:
        raise UnusableError("empty answer", "a question without an answer")
    asked = f"{row['context']}\n\n{row['question']}"
    return {"prompt": _user(asked), "completion": [{"role": "assistant", "content": str(texts[0])}]}


def _translation(row: Mapping[str, Any]) -> dict[str, Any]:
    (source, said), (target, meant), *_ = row["translation"].items()
    answer = [{"role": "assistant", "content": str(meant)}]
    return {"prompt": _user(f"Translate from {source} to {target}:\n{said}"), "completion": answer}


def _user(said: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": said}]


def _answers(row: Mapping[str, Any]) -> dict[str, Any]:
    scores = [float(score) for score in row.get("scores", row.get("rewards"))]
    return {
        "prompt": _messages(row["prompt"]),
        "completions": [_messages(answer) for answer in row["completions"]],
        "scores": scores,
    }


def _answer(row: Mapping[str, Any]) -> dict[str, Any]:
    found = {"prompt": _messages(row["prompt"]), "completion": _messages(row["completion"])}
    score = row.get("score", row.get("reward"))
    return found | ({} if score is None else {"score": float(score)})


_SHAPES: tuple[tuple[tuple[str, ...], Any], ...] = (
    (("chosen", "rejected"), _pair),
    (("prompt", "completions", "labels"), lambda row: {"prompt": _messages(row["prompt"])}),
    (("prompt", "completion"), _answer),
    (("prompt", "completions", "rewards"), _answers),
    (("prompt", "completions", "scores"), _answers),
    (("messages",), _conversation),
    (("conversations",), _conversation),
    (("instruction", "output"), _instruction),
    (("context", "question", "answers"), _question),
    (("translation",), _translation),
    (("prompt",), lambda row: {"prompt": _messages(row["prompt"])}),
    (("text",), lambda row: {"completion": str(row["text"])}),
)
