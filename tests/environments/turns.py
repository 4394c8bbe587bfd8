"""An environment for tests: it wants two short turns, and pays for each that ends."""

from penchant.environments.text import Reply


class Turns:
    """Says `go` after the first turn."""

    turns, seconds, tools = 2, None, ()

    def respond(self, prompt, messages, text):
        said = sum(m["role"] == "assistant" for m in messages)
        return Reply(None if said == 2 else [{"role": "user", "content": "go"}], 0.5, {"said": 1.0})


def build(options, context):
    return Turns()
