"""Small policies for environments that are no texts: a table or a multi-layer perceptron, with a decoder's face.

`config.json` says `model_type: penchant_policy`: no library but this one knows it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from penchant.errors import CorruptCheckpoint
from penchant.files import read_json, write_json
from penchant.models.heads import read_heads, split_heads, write_heads
from penchant.models.tensors import read_tensors, write_tensors

__all__ = ["KIND", "Mlp", "PolicyConfig", "greedy", "load_policy"]

KIND = "penchant_policy"


@dataclass(frozen=True)
class PolicyConfig:
    """A policy's shape.

    Attributes:
        inputs: features of an observation, or how many numbered ones there are.
        numbered: whether observations are numbers.
        actions: how many there are.
        hidden: widths of hidden layers; none: a table (or a linear policy).
        dueling: action values are a state's value and each action's advantage (Wang et al. 2016, eq. 9).
    """

    inputs: int
    numbered: bool
    actions: int
    hidden: tuple[int, ...] = (64, 64)
    dueling: bool = False
    max_position_embeddings: int = 1


class Mlp(nn.Module):
    """Logits (or action values) are states @ head.T + head_bias, as of a language model."""

    shares_prompts = False

    def __init__(self, config: PolicyConfig):
        super().__init__()
        self.config = config
        sizes = [config.inputs, *config.hidden]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.out = nn.Linear(sizes[-1], config.actions, bias=bool(config.hidden))
        self.value_of_state = nn.Linear(sizes[-1], 1) if config.dueling else None

    def initialise(self, seed: int) -> Mlp:
        """Orthogonal hidden layers; the output begins near 0, a table's at 0."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if weight.dim() == 1 or not self.config.hidden:
                    weight.zero_()
                elif name.startswith("layers."):
                    nn.init.orthogonal_(weight, 2**0.5, generator=generator)
                else:
                    weight.copy_(torch.randn(weight.shape, generator=generator) * 0.01)
        return self

    @property
    def head(self) -> Tensor:
        """The output matrix [actions, hidden]."""
        if self.value_of_state is None:
            return self.out.weight
        return self.out.weight - self.out.weight.mean(0) + self.value_of_state.weight

    @property
    def head_bias(self) -> Tensor | None:
        """What is added [actions]."""
        if self.value_of_state is None:
            return self.out.bias
        return self.out.bias - self.out.bias.mean() + self.value_of_state.bias

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the weights."""
        return self.out.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.out.weight.device

    def forward(self, inputs: Tensor, positions: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """States [T, hidden] of observations: float [T, features], or int64 [T] numbers."""
        x = inputs
        if self.config.numbered:
            x = nn.functional.one_hot(inputs, self.config.inputs)
        x = x.to(self.dtype)
        for layer in self.layers:
            x = layer(x).tanh()
        return x

    def outputs(self, observations: Any) -> Tensor:
        """Logits or action values [N, actions] of observations, without gradient."""
        with torch.no_grad():
            states = self(torch.as_tensor(observations, device=self.device))
            return nn.functional.linear(states, self.head, self.head_bias)

    def save(self, folder: Path, weights: Mapping[str, Tensor] | None = None) -> None:
        """Write `config.json`, `model.safetensors` and heads into an existing folder."""
        own, heads = split_heads(weights or self.state_dict())
        write_tensors(folder / "model.safetensors", own)
        write_heads(folder, heads)
        write_json(folder / "config.json", {"model_type": KIND, **asdict(self.config)})

    def saved(self, folder: Path) -> dict[str, Tensor]:
        """What `save` wrote, as `load_state_dict` takes it."""
        return read_tensors(folder / "model.safetensors") | read_heads(folder)


def load_policy(folder: Path) -> Mlp:
    """A policy from its folder, heads left out.

    Raises:
        CorruptCheckpoint: the files are missing or do not fit.
    """
    raw = read_json(folder / "config.json")
    try:
        known = {name: raw[name] for name in PolicyConfig.__dataclass_fields__}
        model = Mlp(PolicyConfig(**{**known, "hidden": tuple(known["hidden"])}))
        model.load_state_dict(read_tensors(folder / "model.safetensors"))
    except (KeyError, TypeError, RuntimeError) as error:
        raise CorruptCheckpoint(" ".join(str(error).split())[:160], "train it again", file=folder) from error
    return model


def greedy(model: Mlp, observations: Any) -> list[int]:
    """The best action for each observation."""
    return [int(a) for a in model.outputs(observations).argmax(-1)]
