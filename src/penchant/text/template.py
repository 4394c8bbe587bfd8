"""Prompts and completions -> token ids: plain text as it is, messages through the model's own chat template.

The loss is on the completion, its end token included. A user's text never becomes a special token; a template's does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from penchant.errors import InputError
from penchant.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from jinja2 import Template as Compiled

__all__ = ["Messages", "Template", "text_of"]

Messages = str | Sequence[Mapping[str, str]]
_TOOLS = """You may call these functions:
<tools>
{tools}
</tools>
For a call write a JSON object with the function's name and arguments within <tool_call></tool_call>:
<tool_call>
{{"name": NAME, "arguments": {{...}}}}
</tool_call>"""


def text_of(content: Messages) -> str:
    """What is said, without who says it."""
    return content if isinstance(content, str) else "\n".join(message["content"] for message in content)


class Template:
    """How rows become token ids for one model.

    Args:
        chat_template: Jinja text that stands for the tokenizer's own.
        tools: JSON schemas of functions that the model may call; a template that knows no tools gets them as a message
            of the system.
    """

    def __init__(self, tokenizer: Tokenizer, chat_template: str | None = None, tools: Sequence[Mapping[str, Any]] = ()):
        self.tokenizer, self.tools = tokenizer, tuple(tools)
        self.source = chat_template or tokenizer.chat_template
        self._compiled: Compiled | None = None

    def prompt_ids(self, prompt: Messages) -> list[int]:
        """What a completion follows: a plain text, or messages and the start of the assistant's turn.

        Raises:
            InputError: messages, and there is no chat template; or it refuses them.
        """
        if isinstance(prompt, str):
            return [*self.tokenizer.lead_ids, *self.tokenizer.encode(prompt)]
        return self.tokenizer.encode_template(self._rendered(prompt, True))

    def prompt_text(self, prompt: Messages) -> str:
        """The same for people."""
        return prompt if isinstance(prompt, str) else self._rendered(prompt, True).replace("\ue000", "")

    def pair_ids(self, prompt: Messages, completion: Messages) -> tuple[list[int], list[int]]:
        """The prompt's ids and the completion's, which ends with an end token.

        Raises:
            InputError: as `prompt_ids`; one is a text and the other messages; or the template changes the prompt when
                more follows.
        """
        if isinstance(prompt, str) != isinstance(completion, str):
            raise InputError(
                "a prompt is a text and its completion messages, or the other way round", "make them alike"
            )
        end = self.tokenizer.eos_id
        if isinstance(prompt, str) or isinstance(completion, str):
            return self.prompt_ids(prompt), [*self.tokenizer.encode(str(completion)), end]
        before, whole = self._rendered(prompt, True), self._rendered([*prompt, *completion], False)
        if not whole.startswith(before):
            before = self._rendered(prompt, False)  # templates that put nothing before an answer, or put it otherwise
            if not whole.startswith(before):
                raise InputError(
                    "the chat template writes the prompt otherwise when an answer follows",
                    "give another chat_template=",
                )
        ids = self.tokenizer.encode_template(whole[len(before) :])
        # What stands after the last end token (a line break) is never written by the model.
        last = max((i for i, token in enumerate(ids) if token == end), default=None)
        return self.tokenizer.encode_template(before), [*ids, end] if last is None else ids[: last + 1]

    def reply_ids(self, messages: Messages, reply: Sequence[Mapping[str, str]]) -> list[int]:
        """What stands between the assistant's end token and the start of its next turn, where it got a reply.

        Args:
            messages: the conversation, the assistant's turn last; a plain text gets the reply on lines of its own.
        """
        if isinstance(messages, str):
            return self.tokenizer.encode("\n" + "".join(f"{message['content']}\n" for message in reply))
        # what the assistant said does not matter here, and some templates change it in later turns
        said = [*messages[:-1], {"role": "assistant", "content": "x"}]
        before, after = self._rendered(said, False), self._rendered([*said, *reply], True)
        if not after.startswith(before):
            raise InputError(
                "the chat template writes a turn otherwise when another follows", "give another chat_template="
            )
        end = self.tokenizer.special_text(self.tokenizer.eos_id)
        _, found, tail = before.rpartition(end) if end else ("", "", "")
        return self.tokenizer.encode_template((tail if found else "") + after[len(before) :])

    def _told(self, messages: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
        """Messages with a word on the tools, where the template says none."""
        if not self.tools or self.source is None or "tools" in self.source:
            return list(messages)
        import json

        listed = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in self.tools)
        text = _TOOLS.format(tools=listed)
        if messages and messages[0].get("role") == "system":
            return [{**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}, *messages[1:]]
        return [{"role": "system", "content": text}, *messages]

    def _rendered(self, messages: Sequence[Mapping[str, str]], ask: bool) -> str:
        messages = self._told(messages)
        if self.source is None:
            raise InputError(
                "rows are conversations, and the model has no chat template",
                "give chat_template=FILE, or rows of plain prompt and completion",
            )
        from jinja2 import TemplateError

        if self._compiled is None:
            self._compiled = _compile(self.source)
        guarded = [{**m, "content": self.tokenizer.guarded(str(m.get("content", "")))} for m in messages]
        try:
            return self._compiled.render(
                messages=guarded,
                tools=list(self.tools) or None,
                add_generation_prompt=ask,
                bos_token=self._text(self.tokenizer.lead_ids),
                eos_token=self.tokenizer.end,
                pad_token=self.tokenizer.pad,
            )
        except (TemplateError, TypeError, KeyError) as error:
            raise InputError(
                f"the chat template refuses a conversation ({error})", "mend the row's messages"
            ) from error

    def _text(self, ids: Sequence[int]) -> str:
        return "".join(self.tokenizer.special_text(i) for i in ids)


def _compile(source: str) -> Compiled:
    """As transformers compiles them."""
    import datetime
    import json

    from jinja2 import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise TemplateError(message)

    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    made.filters["tojson"] = lambda value, indent=None, **_: json.dumps(value, ensure_ascii=False, indent=indent)
    made.globals["raise_exception"] = refuse
    made.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    try:
        return made.from_string(source)
    except TemplateError as error:
        raise InputError(f"the chat template is broken ({error})", "give another chat_template=") from error
