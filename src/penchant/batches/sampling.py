"""How a policy is sampled: one completion a prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from penchant.models.decoder import Decoder
from penchant.models.replay import Tape
from penchant.records import Completion, Prompt
from penchant.sampling.engine import Sampled, generate
from penchant.text.tokenizer import Tokenizer

__all__ = ["Sampling"]


@dataclass(frozen=True)
class Sampling:
    """How a policy is sampled: temperature and bans belong to the policy, `insert` forces control tokens."""

    max_new_tokens: int
    temperature: float
    end: tuple[int, ...]
    ban: tuple[int, ...]
    insert: Mapping[int, int] = field(default_factory=dict)

    def complete(
        self,
        model: Decoder,
        tokenizer: Tokenizer,
        prompts: Sequence[Prompt],
        seed: int,
        first: int,
        tell: Callable[[int, Completion], None] | None = None,
        tape: Tape | None = None,
    ) -> list[Completion]:
        """One completion a prompt; `tell` is called with each as soon as it is there, while others are sampled; `tape`
        keeps what the policy's linear layers gave.
        """
        made: list[Completion | None] = [None] * len(prompts)

        def finished(number: int, s: Sampled) -> None:
            made[number] = Completion(s.ids, s.logprobs, s.forced, tokenizer.decode(list(s.ids)), s.stop)
            if tell is not None:
                tell(number, made[number])  # type: ignore[arg-type]

        generate(
            model,
            [p.ids for p in prompts],
            max_new_tokens=self.max_new_tokens,
            end=self.end,
            temperature=self.temperature,
            ban=self.ban,
            insert=self.insert,
            seed=seed,
            first=first,
            finished=finished,
            tape=tape,
        )
        return [completion for completion in made if completion is not None]
