"""Hugging Face folders in and out: `config.json`, `model.safetensors`, `generation_config.json`; never a pickle."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from penchant.errors import CorruptCheckpoint, InputError
from penchant.files import write_json
from penchant.models.config import DecoderConfig, unsupported
from penchant.models.decoder import Decoder
from penchant.models.gguf import find_gguf, read_gguf, unpack_tokenizer
from penchant.models.lora import adapted, merged_state, read_adapter, save_lora
from penchant.models.tensors import read_tensors, write_tensors
from penchant.text.tokenizer import Tokenizer

__all__ = ["load_model", "load_tokenizer", "read_tensors", "save_model", "saved_state", "write_tensors"]

_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}


def save_model(
    model: Decoder,
    folder: Path,
    suppress: tuple[int, ...] = (),
    weights: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write a model's files into an existing folder (beside its tokenizer's).

    Args:
        suppress: token ids that samplers must not choose (control tokens), kept in `generation_config.json`.
        weights: the whole weights by name, where the model holds a part of them only.
    """
    config = model.config
    write_json(folder / "config.json", config.to_hugging_face(_NAMES[model.dtype]))
    if adapted(model):
        write_tensors(folder / "model.safetensors", merged_state(model, weights))
        save_lora(model, folder / "adapter", weights=weights)
    else:
        write_tensors(folder / "model.safetensors", dict(weights or model.state_dict()))
    generation: dict[str, Any] = {
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
        "pad_token_id": config.pad_token_id,
        "do_sample": True,
    }
    if suppress:
        generation["suppress_tokens"] = list(suppress)
    write_json(folder / "generation_config.json", generation)


def saved_state(model: Decoder, folder: Path) -> dict[str, torch.Tensor]:
    """What `save_model` wrote of this model, as its `load_state_dict` takes it; beside adapters the base stays.

    Raises:
        CorruptCheckpoint: missing, or cannot be read.
    """
    if adapted(model):
        return dict(model.state_dict()) | read_adapter(folder / "adapter")
    return read_tensors(folder / "model.safetensors")


def load_model(folder: Path, dtype: torch.dtype | None = None, device: str = "cpu") -> Decoder:
    """Load a folder (one file or shards), or a `.gguf` file or a folder that holds one.

    Args:
        dtype: number format of the weights; None keeps the saved one (float32 for GGUF).

    Raises:
        InputError: no model there, or one of another family.
        CorruptCheckpoint: weights are missing, truncated or of the wrong shape.
        MissingExtra: a `.gguf` file, and no library to read it.
    """
    if (file := find_gguf(folder)) is not None:
        return _from_gguf(file, dtype or torch.float32, device)
    config = DecoderConfig.from_folder(folder)
    shards = sorted(folder.glob("model*.safetensors"))
    if not shards:
        raise InputError("no model.safetensors", "give a Hugging Face folder with safetensors weights", file=folder)
    weights = {k: v for shard in shards for k, v in read_tensors(shard).items()}
    return _filled(config, weights, dtype or next(iter(weights.values())).dtype, device, folder)


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a folder, or of a `.gguf` file or a folder that holds one.

    Raises:
        InputError, CorruptCheckpoint: there is none, or it cannot be read. MissingExtra: as `load_model`.
    """
    if (file := find_gguf(path)) is None:
        return Tokenizer.load(path)
    with tempfile.TemporaryDirectory() as folder:
        unpack_tokenizer(file, Path(folder))
        return Tokenizer.load(folder)


def _from_gguf(file: Path, dtype: torch.dtype, device: str) -> Decoder:
    """The model of a `.gguf` file."""
    theirs = read_gguf(file)
    raw = theirs.config.to_dict()
    raw.pop("quantization_config", None)  # the weights are dense now
    if odd := unsupported(raw):
        raise InputError(f"this decoder does not support {', '.join(odd)}", "convert the model", file=file)
    return _filled(DecoderConfig.from_hugging_face(raw, file), theirs.state_dict(), dtype, device, file)


def _filled(
    config: DecoderConfig, weights: dict[str, torch.Tensor], dtype: torch.dtype, device: str, place: Path
) -> Decoder:
    """A decoder of these weights; `place` is for messages."""
    if config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    with torch.device("meta"):
        model = Decoder(config)
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise CorruptCheckpoint(
            " ".join(str(error).split())[:160], "the weights do not fit the config; fetch them again", file=place
        ) from error
    return model.to(device=device, dtype=dtype).requires_grad_(True)
