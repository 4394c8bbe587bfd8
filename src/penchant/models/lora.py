"""Low-rank adapters (Hu et al. 2021) through `peft`: put on a decoder, trained alone, merged, saved as peft's folders.

An adapted layer is called, never read: `decoder.Together` and the sampler look at what a layer is before they take its
matrix. The output matrix and the embeddings are read, so no adapter goes there.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from penchant.errors import CorruptCheckpoint, InputError, MissingExtra
from penchant.models.names import TARGETS, targets_of
from penchant.models.tensors import read_tensors, write_tensors

__all__ = ["TARGETS", "adapted", "add_lora", "load_lora", "merge_lora", "merged_state", "read_adapter", "save_lora"]

_READ = ("lm_head", "embed_tokens", "norm")  # weights that are read where they are used
_PREFIX = "base_model.model."  # how peft names a model inside its own


def _peft() -> Any:
    if importlib.util.find_spec("peft") is None:
        raise MissingExtra("LoRA", "lora")
    import peft

    return peft


def add_lora(
    model: nn.Module,
    rank: int = 16,
    alpha: float = 32.0,
    dropout: float = 0.0,
    targets: Sequence[str] | None = None,
    seed: int = 0,
) -> None:
    """Put adapters on the layers of these names; from then on only they have gradients.

    Args:
        rank: width of the two small matrices A [rank, in] and B [out, rank]; W x becomes W x + alpha / rank * B A x.
        dropout: of x before A, while training.
        targets: last parts of layers' names; None for those of attention and feed-forward, whatever they are called.
        seed: of A; B is 0, so that the model says what it said.

    Raises:
        MissingExtra: `peft` is not installed.
        InputError: an unknown target, a rank below 1, or the model has adapters.
    """
    peft = _peft()
    if adapted(model):
        raise InputError("the model has adapters already", "merge them first")
    if rank < 1 or alpha <= 0 or not 0 <= dropout < 1:
        raise InputError(f"LoRA with rank {rank}, alpha {alpha}, dropout {dropout}", "take 1 or more, above 0, below 1")
    linear = {name.rpartition(".")[2] for name, part in model.named_modules() if _matrix(part)}
    targets = targets_of(linear - set(_READ)) if targets is None else targets
    wrong = [t for t in targets if t not in linear or t in _READ]
    if wrong or not targets:
        known = ", ".join(sorted(linear - set(_READ)))
        raise InputError(f"LoRA cannot go on {', '.join(wrong) or 'nothing'}", f"choose among {known}")
    turned = any(_turned(part) for name, part in model.named_modules() if name.rpartition(".")[2] in targets)
    config = peft.LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(targets), fan_in_fan_out=turned
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(config, model)


def _turned(part: Any) -> bool:
    """Whether a layer keeps its matrix as [in, out] (GPT-2's)."""
    return type(part).__name__ == "Conv1D" and hasattr(part, "nf")


def _matrix(part: nn.Module) -> bool:
    return isinstance(part, nn.Linear) or _turned(part)


def adapted(model: nn.Module) -> bool:
    """Whether a model has adapters."""
    return bool(_layers(model))


def _layers(model: nn.Module) -> dict[str, Any]:
    """The layers with an adapter, by name."""
    return {name: part for name, part in model.named_modules() if hasattr(part, "lora_A")}


def merge_lora(model: nn.Module) -> None:
    """Add the adapters to their matrices, in place; what is left is a plain model, all of it trained."""
    state = merged_state(model)
    for name, layer in _layers(model).items():
        model.set_submodule(name, layer.get_base_layer())
    _forget(model)
    model.load_state_dict(state)
    model.requires_grad_(True)


def _forget(model: nn.Module) -> None:
    """Drop what peft notes on the model itself."""
    for name in ("peft_config", "_hf_peft_config_loaded"):
        if hasattr(model, name):
            delattr(model, name)


@torch.no_grad()
def merged_state(model: nn.Module, weights: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The weights under their plain names, adapters added in float32; the model stays as it is.

    Args:
        weights: the whole weights by name, where the model holds a part of them only.
    """
    weights = dict(weights or model.state_dict())
    state = {k.replace(".base_layer.", "."): v for k, v in weights.items() if ".lora_" not in k}
    for name, layer in _layers(model).items():
        a, b = (weights[f"{name}.lora_{part}.default.weight"].float() for part in "AB")
        base = state[f"{name}.weight"]
        change = (b @ a).T if _turned(layer.get_base_layer()) else b @ a
        state[f"{name}.weight"] = (base.float() + layer.scaling["default"] * change).to(base.dtype)
    return state


def save_lora(
    model: nn.Module, folder: Path, base: str | None = None, weights: Mapping[str, Tensor] | None = None
) -> None:
    """Write a peft folder (`adapter_config.json`, `adapter_model.safetensors`) that `PeftModel.from_pretrained` loads.

    Args:
        base: name or path of the model that the adapters belong to.
        weights: as in `merged_state`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    notes: Any = model.peft_config
    config = copy.copy(notes["default"])
    config.base_model_name_or_path, config.inference_mode = base, True
    config.target_modules = sorted(config.target_modules)  # a set has no order: the same adapter, the same bytes
    config.save_pretrained(folder)
    own = {k: v for k, v in (weights or model.state_dict()).items() if ".lora_" in k}
    write_tensors(
        folder / "adapter_model.safetensors", {_PREFIX + k.replace(".default", ""): v for k, v in own.items()}
    )


def load_lora(model: nn.Module, folder: Path) -> None:
    """Put the adapters of a peft folder on a model; on one that has them, set their weights.

    Raises:
        MissingExtra: `peft` is not installed.
        InputError: no adapter there, one of another kind, or one on weights that are read.
        CorruptCheckpoint: its tensors are missing, or do not fit the model.
    """
    peft = _peft()
    if not (folder / "adapter_config.json").is_file():
        raise InputError("no adapter (no adapter_config.json)", "give a folder that peft wrote", file=folder)
    if not adapted(model):
        config = peft.PeftConfig.from_pretrained(folder)
        named = config.target_modules
        read = [t for t in ([named] if isinstance(named, str) else named or []) if t.endswith(_READ)]
        odd = [name for name in ("use_dora", "lora_bias", "modules_to_save") if getattr(config, name, None)]
        if config.peft_type != "LORA" or read or odd:
            what = ", ".join(read + odd) or str(config.peft_type)
            raise InputError(f"adapts by {what}", "give plain LoRA on layers of the blocks", file=folder)
        try:
            peft.inject_adapter_in_model(config, model)
        except ValueError as error:
            raise InputError(str(error)[:120], "give an adapter of this model", file=folder) from error
    wanted, found = {k for k in model.state_dict() if ".lora_" in k}, read_adapter(folder)
    try:
        if set(found) != wanted:
            raise RuntimeError(f"{len(set(found) ^ wanted)} tensors are too many or missing")
        model.load_state_dict(found, strict=False)
    except RuntimeError as error:
        raise CorruptCheckpoint(" ".join(str(error).split())[:160], "give this model's", file=folder) from error


def read_adapter(folder: Path) -> dict[str, Tensor]:
    """The tensors of a peft folder under the names that an adapted model has for them.

    Raises:
        CorruptCheckpoint: missing, or cannot be read.
    """
    found = read_tensors(folder / "adapter_model.safetensors")
    return {_own_name(k): v for k, v in found.items()}


def _own_name(name: str) -> str:
    """`base_model.model.x.lora_A.weight` -> `x.lora_A.default.weight`."""
    head, _, last = name.removeprefix(_PREFIX).rpartition(".")
    return f"{head}.default.{last}"
