"""Hugging Face folders in and out: `config.json`, `model.safetensors`, `generation_config.json`; never a pickle."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from penchant.errors import CorruptCheckpoint, InputError
from penchant.files import write_json
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder

__all__ = ["load_model", "read_tensors", "save_model", "write_tensors"]

_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}


def write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write a safetensors file with the header that Hugging Face's loaders ask for."""
    try:
        save_file({k: v.detach().contiguous().cpu() for k, v in tensors.items()}, path, metadata={"format": "pt"})
    except SafetensorError as error:  # it hides the system's error in its text
        if "os error 28" in str(error):
            raise OSError(errno.ENOSPC, "No space left on device", str(path)) from error
        raise


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file.

    Raises:
        CorruptCheckpoint: missing, truncated or not a safetensors file.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CorruptCheckpoint(
            f"cannot be read ({str(error).splitlines()[0][:80]})", "restore it, or use an earlier checkpoint", file=path
        ) from error


def save_model(model: Decoder, folder: Path, suppress: tuple[int, ...] = ()) -> None:
    """Write a model's files into an existing folder (beside its tokenizer's).

    Args:
        suppress: token ids that samplers must not choose (control tokens), kept in `generation_config.json`.
    """
    config = model.config
    write_json(folder / "config.json", config.to_hugging_face(_NAMES[model.dtype]))
    write_tensors(folder / "model.safetensors", dict(model.state_dict()))
    generation: dict[str, Any] = {
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
        "pad_token_id": config.pad_token_id,
        "do_sample": True,
    }
    if suppress:
        generation["suppress_tokens"] = list(suppress)
    write_json(folder / "generation_config.json", generation)


def load_model(folder: Path, dtype: torch.dtype | None = None, device: str = "cpu") -> Decoder:
    """Load a Llama-family folder (one file or shards).

    Args:
        dtype: number format of the weights; None keeps the saved one.

    Raises:
        InputError: no model there, or one of another family.
        CorruptCheckpoint: weights are missing, truncated or of the wrong shape.
    """
    config = DecoderConfig.from_folder(folder)
    shards = sorted(folder.glob("model*.safetensors"))
    if not shards:
        raise InputError("no model.safetensors", "give a Hugging Face folder with safetensors weights", file=folder)
    weights = {k: v for shard in shards for k, v in read_tensors(shard).items()}
    if config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    with torch.device("meta"):
        model = Decoder(config)
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise CorruptCheckpoint(
            " ".join(str(error).split())[:160], "the weights do not fit config.json; fetch them again", file=folder
        ) from error
    kind = dtype or next(iter(weights.values())).dtype
    return model.to(device=device, dtype=kind).requires_grad_(True)
