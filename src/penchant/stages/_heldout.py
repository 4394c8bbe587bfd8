"""The loss of pretraining on held-out text, and samples beside, at each evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from penchant.batches.corpus import Pack, next_tokens
from penchant.batches.spread import cost, cut
from penchant.contracts import StageContext
from penchant.data.shards import Windows
from penchant.errors import DataRejected
from penchant.files import append_json_lines
from penchant.models.decoder import Decoder
from penchant.models.quantities import quantities
from penchant.records import Batch, Encoded
from penchant.runtime.mesh import Mesh
from penchant.runtime.random import stream
from penchant.sampling.engine import generate
from penchant.text.conditioning import Conditioning
from penchant.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from penchant.stages.pretrain import Options

__all__ = ["HeldOut"]


class HeldOut:
    """The loss on held-out windows and a few samples, at each evaluation.

    Args:
        documents: encoded as the objective sees held-out text.
        mesh: the threads and processes that share the windows; the first process samples.
    """

    def __init__(
        self,
        model: Decoder,
        tokenizer: Tokenizer,
        documents: Sequence[Encoded],
        options: Options,
        context: StageContext,
        layout: Conditioning,
        mesh: Mesh,
        pack: Pack = next_tokens,
    ):
        self.pack, self.plain = pack, pack is next_tokens
        windows = Windows(documents, options.context)
        order = stream(0, "heldout").permutation(len(windows))
        self.windows, content = [], 0
        for i in order:
            self.windows.append(windows[int(i)])
            content += int((~windows[i].control[1:]).sum())
            if content >= options.eval_tokens:
                break
        if not self.windows:
            raise DataRejected("the validation split is empty", "give more documents, or a larger validation share")
        self.model, self.tokenizer, self.options, self.context = model, tokenizer, options, context
        self.layout, self.mesh = layout, mesh
        texts = (tokenizer.decode(w.ids[1:][~w.control[1:]].tolist()) for w in self.windows)
        self.bytes = sum(len(text.encode()) for text in texts)

    def __call__(self, step: int) -> dict[str, float]:
        """`eval_loss` (nats a label) of the held-out text; of a decoder `bits_per_byte` too, which it writes from."""
        numbered = list(zip(self.windows, range(len(self.windows)), strict=True))  # the same noise each time
        parts = [
            self.pack([window for window, _ in part], [n for _, n in part], "held out")
            for part in self.mesh.share(cut(numbered, 32, self.mesh.lanes))
        ]
        with self.mesh.whole(self.model) as model:
            found = self.mesh.each(model, parts, _held_out, cost)
            if self.mesh.first and self.plain:
                self.sample(model, step)
        both = self.mesh.sum({"nll": sum(nll for nll, _ in found), "count": float(sum(n for _, n in found))})
        bits = {"bits_per_byte": both["nll"] / math.log(2) / max(1, self.bytes)} if self.plain else {}
        return {"eval_loss": both["nll"] / both["count"], **bits}

    def sample(self, model: Decoder, step: int) -> None:
        """Write two samples from nothing to samples.jsonl."""
        if not self.options.sample_tokens:
            return
        tokenizer = self.tokenizer
        ask = self.layout.control[0] if self.layout.control else None
        prompt = [tokenizer.eos_id] + ([] if ask is None else [tokenizer.control_ids[ask]])
        ban = [i for i in tokenizer.special_ids if i != tokenizer.eos_id]
        room = self.model.config.max_position_embeddings - len(prompt)
        found = generate(
            model,
            [prompt] * 2,
            max_new_tokens=max(1, min(self.options.sample_tokens, self.options.context, room)),
            end=[tokenizer.eos_id],
            temperature=0.7,
            ban=ban,
            insert=self.layout.insertions(tokenizer, ask),
            seed=self.context.seed,
            first=step * 2,
        )
        append_json_lines(
            self.context.folder / "samples.jsonl",
            [{"step": step, "prompt": "", "text": tokenizer.decode(list(s.ids)), "reward": None} for s in found],
        )


def _held_out(model: Any, batch: Batch) -> tuple[float, int]:
    """The sum of negative log-probs of the labels, and their number."""
    import torch

    with torch.no_grad():
        logprobs = quantities(model, batch, ("logprobs",))["logprobs"]
    return -float(logprobs.double().sum()), len(batch.labels)
