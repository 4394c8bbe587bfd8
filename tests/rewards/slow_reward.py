"""A reward for tests: counts letters; hangs, dies or raises on demand."""

import os
import time

from pydantic import BaseModel


class Options(BaseModel, extra="forbid"):
    scale: float = 1.0
    build_seconds: float = 0.0


def build(options, context):
    time.sleep(options.build_seconds)

    def score(prompts, completions, judgements=None, **columns):
        for completion in completions:
            if completion.text == "hang":
                time.sleep(60)
            if completion.text == "die":
                os._exit(3)
            if completion.text == "raise":
                raise ValueError("a bad one")
        return [None if c.text == "none" else options.scale * len(c.text) for c in completions]

    return score
