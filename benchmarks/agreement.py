"""How far the sampler's log-probs are from the trainer's, and both from float32's, on a real model.

    python benchmarks/smollm2.py models/smollm2
    python benchmarks/agreement.py models/smollm2 [--dtype bfloat16] [--tokens 64]

A few requests, two samples each at temperature 1; mean and largest absolute difference in nats a token. "Replayed" is
an update that goes on from what sampling computed (`reuse_activations`).
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
from pathlib import Path

import numpy as np
import torch

from penchant.batches.credit import Credited, pack
from penchant.models.load import load_model, load_tokenizer
from penchant.models.quantities import quantities
from penchant.models.replay import Tape
from penchant.records import Batch, Completion, Prompt
from penchant.sampling.engine import generate
from penchant.text.template import Template

ASKED = ("Tell me about the sea.", "What is the capital of France?", "Write a poem about rain.",
         "Sum up: Bob met Ann at the station, and they went to lunch.")  # fmt: skip
SAMPLES = 2


def logprobs(model: object, batches: list[Batch], replayed: bool = False) -> np.ndarray:
    """Of all labels."""
    given = batches if replayed else [dataclasses.replace(batch, products=None) for batch in batches]
    with torch.no_grad():
        return np.concatenate([quantities(model, b, ("logprobs",))["logprobs"].numpy() for b in given])  # type: ignore[arg-type]


def main() -> None:
    """Print a line a pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--tokens", type=int, default=64)
    a = parser.parse_args()
    model, tokenizer = load_model(a.model, getattr(torch, a.dtype)), load_tokenizer(a.model)
    template, tape = Template(tokenizer), Tape()
    asked = [tuple(template.prompt_ids([{"role": "user", "content": text}])) for text in ASKED for _ in range(SAMPLES)]
    tape.clear(len(asked) * (a.tokens + max(map(len, asked))))
    found = generate(model, asked, max_new_tokens=a.tokens, end=(tokenizer.eos_id,), seed=0, tape=tape)
    written = [Completion(s.ids, s.logprobs, s.forced, "", s.stop) for s in found]
    rollout = Credited(
        [Prompt(ids, "", "") for ids in asked], written, [~c.forced for c in written], SAMPLES, {},
        np.zeros(len(written), bool),
    )  # fmt: skip
    batches = pack(rollout, len(written), 1, shared=True, temperature=1.0, banned=(), tape=tape)
    told = {
        "sampler": np.concatenate([batch.columns["rollout_logprobs"] for batch in batches]),
        "trainer": logprobs(model, batches),
        "trainer, replayed": logprobs(model, batches, replayed=True),
        "float32": logprobs(copy.deepcopy(model).float(), batches),
    }
    names = list(told)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            gap = np.abs(told[one] - told[other])
            print(f"{one} / {other}: mean {gap.mean():.2g}, largest {gap.max():.2g}, {len(gap)} tokens", flush=True)


if __name__ == "__main__":
    main()
