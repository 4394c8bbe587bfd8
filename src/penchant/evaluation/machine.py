"""A model as evaluation needs it: where it is, how its text was laid out, and functions to sample and to score with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penchant.evaluation.completions import Generate
from penchant.evaluation.perplexity import LogProbs
from penchant.files import read_json, stable_hash
from penchant.text.conditioning import Conditioning
from penchant.text.tokenizer import Tokenizer

__all__ = ["Evaluated", "Machine", "open_machine"]


@dataclass(frozen=True)
class Machine:
    """A loaded model: its functions with the model given."""

    generate: Generate
    logprobs: LogProbs


@dataclass
class Evaluated:
    """A model of the inputs; it is loaded when it is first needed.

    Attributes:
        cutting: a hash of how its tokenizer cuts text, the same for tokenizers that differ in nothing else.
    """

    folder: Path
    tokenizer: Tokenizer
    layout: Conditioning
    open_model: Callable[[], Machine]
    cutting: str = ""
    machine: Machine | None = field(default=None, init=False)

    @classmethod
    def of(cls, folder: Path, segment: str, open_model: Callable[[Path], Machine]) -> Evaluated:
        """The model of a stage's or a Hugging Face folder; `segment` is assumed where nothing else is said."""
        folder = folder / "model" if (folder / "model").is_dir() else folder
        tokenizer = Tokenizer.load(folder)
        content = read_json(folder / "tokenizer.json", limit=1 << 30)
        cutting = stable_hash({key: content.get(key) for key in ("model", "normalizer", "pre_tokenizer")})
        layout = Conditioning.load(folder, tokenizer, segment)
        return cls(folder, tokenizer, layout, lambda: open_model(folder), cutting)

    def opened(self) -> Machine:
        """The loaded model."""
        if self.machine is None:
            self.machine = self.open_model()
        return self.machine


def open_machine(folder: Path, device: str) -> Machine:
    """Load a model in the number format it was saved in."""
    from penchant.models.heads import load_heads
    from penchant.models.load import load_model
    from penchant.models.quantities import sequence_logprobs
    from penchant.runtime.device import device_name
    from penchant.sampling.engine import generate

    model = load_model(folder, None, device_name(device))
    load_heads(model, folder)

    def sampled(prompts: Sequence[Sequence[int]], **request: Any) -> list[Any]:
        return generate(model, prompts, **request)

    return Machine(sampled, lambda sequences: sequence_logprobs(model, sequences))
