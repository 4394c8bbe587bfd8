"""A text as one state: any model of transformers without its output layer, states averaged over a text's tokens.

Mean pooling as Reimers and Gurevych 2019, "Sentence-BERT", section 3; with a head `class` on it a classifier of texts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from penchant.errors import InputError
from penchant.models.heads import head_output, load_heads, split_heads, write_heads
from penchant.models.hugging_face import padded
from penchant.models.tensors import disk_full

__all__ = ["Classifier", "Encoder", "load_classifier"]


class Encoder(nn.Module):
    """A model with the face that training asks for; the state of a text stands at its last token, others are 0.

    Dropout is off, as in all our training.

    Args:
        inner: transformers' model, without an output layer.
        tokenizer: transformers' own, which knows what stands around a text ([CLS], [SEP]).
        longest: tokens of a text at most; the rest is cut off.
    """

    shares_prompts = False

    def __init__(self, inner: Any, tokenizer: Any, longest: int):
        super().__init__()
        self.inner, self.tokenizer = inner.eval(), tokenizer
        most = getattr(inner.config, "max_position_embeddings", None) or longest
        self.longest = min(longest, int(most))

    @classmethod
    def load(cls, folder: str | Path, longest: int, dtype: torch.dtype | None = None, device: str = "cpu") -> Encoder:
        """From a Hugging Face folder; an output layer in it is left out.

        Raises:
            InputError: no model there that transformers knows, or none that reads texts as one sequence.
        """
        import transformers

        try:
            inner = transformers.AutoModel.from_pretrained(
                folder, dtype=dtype or torch.float32, use_safetensors=True, local_files_only=True
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, RuntimeError, json.JSONDecodeError) as error:
            problem = " ".join(str(error).split())[:160]
            mend = "give a Hugging Face folder with safetensors and a tokenizer"
            raise InputError(f"transformers cannot load it ({problem})", mend, file=folder) from error
        if getattr(inner.config, "is_encoder_decoder", False):
            raise InputError("is a sequence-to-sequence model", "give an encoder or a decoder", file=folder)
        return cls(inner.to(device), tokenizer, longest)

    def train(self, mode: bool = True) -> Encoder:
        """Note the mode; the model inside stays as in evaluation, without dropout."""
        self.training = mode
        return self

    @property
    def config(self) -> Any:
        """transformers' own."""
        return self.inner.config

    @property
    def head(self) -> Tensor:
        """A row as wide as the states, in their format: what heads are made after."""
        like = next(self.inner.parameters())
        return like.new_zeros(1, self.inner.config.hidden_size)

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the weights."""
        return next(self.inner.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.inner.parameters()).device

    def forward(self, inputs: Tensor, positions: Tensor, lengths: Tensor) -> Tensor:
        """States [T, hidden] of whole texts: inputs, positions [T], lengths [S]; see the class."""
        ids, mask = padded(inputs, lengths)
        states = self.inner(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        means = (states.float() * mask[..., None]).sum(1) / lengths[:, None]
        last = lengths.cumsum(0) - 1
        return states.new_zeros(len(inputs), states.shape[-1]).index_copy(0, last, means.to(states.dtype))

    def ids(self, texts: Sequence[str]) -> tuple[list[list[int]], int]:
        """Token ids of each text, and how many texts were cut at `longest`."""
        fitted = self.tokenizer(list(texts), truncation=True, max_length=self.longest)["input_ids"]
        whole = self.tokenizer(list(texts), verbose=False)["input_ids"]
        return [list(map(int, ids)) or [0] for ids in fitted], sum(len(ids) > self.longest for ids in whole)


class Classifier:
    """An encoder with a head `class`: what `penchant signal train --encoder` makes.

    Attributes:
        labels: their names, in the order of the head's outputs.
        temperature: what log-odds are divided by.
        about: data, languages, figures: the card.
    """

    def __init__(self, model: Encoder, labels: Sequence[str], temperature: float, about: dict[str, Any]):
        self.model, self.labels, self.temperature, self.about = model, tuple(labels), temperature, about

    @torch.no_grad()
    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """float64 [texts, labels], rows that sum to 1."""
        if not texts:
            return np.zeros((0, len(self.labels)))
        ids, _ = self.model.ids(texts)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        found = np.zeros((len(ids), len(self.labels)))
        for at in range(0, len(order), 64):
            group = order[at : at + 64]
            lengths = torch.tensor([len(ids[i]) for i in group], device=self.model.device)
            flat = torch.tensor([token for i in group for token in ids[i]], device=self.model.device)
            states = self.model(flat, flat, lengths)[lengths.cumsum(0) - 1]
            logits = head_output(self.model, "class", states) / self.temperature
            found[group] = logits.double().softmax(-1).cpu().numpy()
        return found

    def save(self, folder: Path) -> None:
        """`encoder/` (transformers' files and `heads.safetensors`) and `classifier.json`."""
        own, heads = split_heads(self.model.state_dict())
        with disk_full(folder):
            self.model.inner.save_pretrained(
                folder / "encoder", state_dict={k.removeprefix("inner."): v for k, v in own.items()}
            )
            self.model.tokenizer.save_pretrained(folder / "encoder")
        write_heads(folder / "encoder", heads)


def load_classifier(folder: Path, known: dict[str, Any], device: str = "cpu") -> Classifier:
    """A saved one.

    Args:
        known: the content of its `classifier.json`.

    Raises:
        InputError, CorruptCheckpoint: the encoder or its head is not there, or broken.
    """
    model = Encoder.load(folder / "encoder", int(known["longest"]), None, device)
    if not load_heads(model, folder / "encoder"):
        raise InputError("holds no head", "train it again", file=folder / "encoder")
    return Classifier(model, known["labels"], float(known["temperature"]), known["about"])
