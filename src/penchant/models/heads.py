"""Heads on a model's hidden states: values, scores, action values; saved beside the model as `heads.safetensors`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from penchant.errors import CorruptCheckpoint, InputError
from penchant.models.tensors import read_tensors, write_tensors
from penchant.runtime.shard import local, own

__all__ = [
    "FILE", "add_heads", "draw_heads", "head_output", "load_heads", "perturbed", "read_heads", "split_heads",
    "target_layers", "write_heads",
]  # fmt: skip

FILE = "heads.safetensors"
PREFIX = "heads."
TARGETS = ("target_q1", "target_q2")  # the action values that a policy's logits can be moved by


def add_heads(model: nn.Module, sizes: Mapping[str, int]) -> None:
    """Give a model linear heads `model.heads[NAME]` that begin at 0, so that what they say begins at 0.

    Args:
        sizes: name -> outputs a token; 0 stands for the vocabulary. Those named `target_...` follow other heads and get
            no gradient.
    """
    if not sizes:
        return
    like: Tensor = model.head  # type: ignore[assignment]
    made = {}
    for name, size in sorted(sizes.items()):
        bias = name != "score"  # transformers' classifiers have none
        layer = nn.Linear(like.shape[1], size or like.shape[0], bias, device=like.device, dtype=like.dtype)
        nn.init.zeros_(layer.weight)
        if bias:
            nn.init.zeros_(layer.bias)
        made[name] = layer.requires_grad_(not name.startswith("target_"))
    model.heads = nn.ModuleDict(made)


@torch.no_grad()
def draw_heads(model: Any, names: Sequence[str], seed: int, scale: float = 0.1) -> None:
    """Begin heads apart from each other instead of at 0: what they say of a normed state is about N(0, scale)."""
    generator = torch.Generator().manual_seed(seed)
    for name in names:
        weight: Tensor = model.heads[name].weight
        drawn = torch.randn(weight.shape, generator=generator) * scale / weight.shape[1] ** 0.5
        local(weight).copy_(own(drawn.to(weight.device, weight.dtype), weight))


def head_output(model: Any, name: str, states: Tensor) -> Tensor:
    """What a head says of states [N, hidden]: float32 [N], or [N, outputs] where it has several.

    Raises:
        KeyError: the model has no such head.
    """
    layer = model.heads[name]
    bias = None if layer.bias is None else layer.bias.float()
    found: Tensor = nn.functional.linear(states.float(), layer.weight.float(), bias)
    return found.squeeze(-1) if found.shape[-1] == 1 else found


def target_layers(model: Any) -> list[Any]:
    """The heads of a model's target action values; none where it has none."""
    heads = getattr(model, "heads", None)
    return [] if heads is None or TARGETS[0] not in heads else [heads[name] for name in TARGETS]


def perturbed(logits: Tensor, action_values: Sequence[Tensor], weight: float) -> Tensor:
    """logits + weight min(Q1, Q2), float32 [N, vocabulary]: the policy of implicit language Q-learning (Snell et al.
    2023, section 4.3); V(s), which the paper takes off Q, is the same for all tokens and leaves the softmax as it is.

    Raises:
        InputError: no action values.
    """
    if not action_values:
        raise InputError("the model has no action values", "leave q_weight out, or take a model that ilql has tuned")
    least = torch.stack([each.float() for each in action_values]).amin(0)
    return logits.float() + weight * least


def split_heads(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights by name without the heads', and those of the heads."""
    heads = {name: tensor for name, tensor in weights.items() if name.startswith(PREFIX)}
    return {name: tensor for name, tensor in weights.items() if name not in heads}, heads


def write_heads(folder: Path, heads: Mapping[str, Tensor]) -> None:
    """Write `heads.safetensors`; nothing where there are none."""
    if heads:
        write_tensors(folder / FILE, {name.removeprefix(PREFIX): tensor for name, tensor in heads.items()})


def read_heads(folder: Path) -> dict[str, Tensor]:
    """The heads' weights of a folder under the names that a model has for them; none where there is no such file.

    Raises:
        CorruptCheckpoint: the file cannot be read.
    """
    if not (folder / FILE).is_file():
        return {}
    return {PREFIX + name: tensor for name, tensor in read_tensors(folder / FILE).items()}


def load_heads(model: nn.Module, folder: Path) -> bool:
    """Give a model the heads that stand beside its weights in a folder; False where there are none.

    Raises:
        CorruptCheckpoint: they cannot be read, or do not fit the model.
    """
    found = read_heads(folder)
    if not found:
        return False
    names = sorted({name.removeprefix(PREFIX).partition(".")[0] for name in found})
    try:
        add_heads(model, {name: len(found[f"{PREFIX}{name}.weight"]) for name in names})
        with torch.no_grad():
            for name, tensor in found.items():
                model.get_parameter(name).copy_(tensor)
    except (KeyError, AttributeError, RuntimeError) as error:
        raise CorruptCheckpoint(
            f"heads do not fit the model ({' '.join(str(error).split())[:120]})",
            "give this model's",
            file=folder / FILE,
        ) from error
    return True
