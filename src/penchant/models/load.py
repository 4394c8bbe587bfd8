"""Hugging Face folders in and out: `config.json`, `model.safetensors`, `generation_config.json`; never a pickle."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from penchant import console
from penchant.errors import CorruptCheckpoint, InputError
from penchant.files import read_json, write_json
from penchant.models.config import DecoderConfig, read_config, unsupported
from penchant.models.decoder import Decoder
from penchant.models.gguf import find_gguf, read_gguf, unpack_tokenizer
from penchant.models.heads import read_heads, split_heads, write_heads
from penchant.models.hugging_face import Foreign, kind_of, load_foreign
from penchant.models.lora import adapted, merged_state, read_adapter, save_lora
from penchant.models.mlp import KIND, Mlp, load_policy
from penchant.models.scorer import SCORE, scorer_config
from penchant.models.tensors import read_tensors, write_tensors
from penchant.text.tokenizer import Tokenizer

__all__ = ["load_model", "load_tokenizer", "read_tensors", "save_model", "saved_state", "write_tensors"]

_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}


def save_model(
    model: Decoder | Foreign | Mlp,
    folder: Path,
    suppress: tuple[int, ...] = (),
    weights: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write a model's files into an existing folder (beside its tokenizer's).

    Args:
        suppress: token ids that samplers must not choose (control tokens), kept in `generation_config.json`.
        weights: the whole weights by name, where the model holds a part of them only.
    """
    if isinstance(model, Mlp):
        model.save(folder, weights)
        return
    config = model.config
    own, heads = split_heads(weights or model.state_dict())
    score = {"score.weight": heads[SCORE]} if SCORE in heads else {}
    if isinstance(model, Foreign):
        model.save(folder, own if weights else None)
    elif adapted(model):
        write_tensors(folder / "model.safetensors", merged_state(model, own) | score)
        save_lora(model, folder / "adapter", weights=own)
    else:
        write_tensors(folder / "model.safetensors", own | score)
    write_heads(folder, heads)
    content = config.to_hugging_face(_NAMES[model.dtype])
    write_json(folder / "config.json", scorer_config(content) if SCORE in heads else content)
    ids = {k: getattr(config, k) for k in ("bos_token_id", "eos_token_id", "pad_token_id")}
    generation = {**ids, "do_sample": True, **_generation(folder), **getattr(model, "generation", {})}
    if suppress:
        generation["suppress_tokens"] = list(suppress)
    write_json(folder / "generation_config.json", generation)


def _generation(folder: Path) -> dict[str, Any]:
    """The content of `generation_config.json`, if there is one: end tokens of a chat model, and the like."""
    path = folder / "generation_config.json"
    return dict(read_json(path)) if path.is_file() else {}


def saved_state(model: Decoder | Foreign | Mlp, folder: Path) -> dict[str, torch.Tensor]:
    """What `save_model` wrote of this model, as its `load_state_dict` takes it; beside adapters the base stays.

    Raises:
        CorruptCheckpoint: missing, or cannot be read.
    """
    if isinstance(model, Mlp):
        return model.saved(folder)
    heads = read_heads(folder)
    if isinstance(model, Foreign):
        return model.saved(folder) | heads
    if adapted(model):
        return dict(model.state_dict()) | read_adapter(folder / "adapter") | heads
    weights = read_tensors(folder / "model.safetensors") | heads
    return {name: tensor for name, tensor in weights.items() if name != "score.weight"}


def load_model(folder: Path, dtype: torch.dtype | None = None, device: str = "cpu") -> Any:
    """Load a folder (one file or shards), or a `.gguf` file or a folder that holds one.

    Args:
        dtype: number format of the weights; None keeps the saved one (float32 for GGUF).

    Returns:
        A `Decoder` where its families reach, else a `Foreign`, which a note says is slower.

    Raises:
        InputError: no model there, or one that transformers does not know either.
        CorruptCheckpoint: weights are missing, truncated or of the wrong shape.
        MissingExtra: a `.gguf` file, and no library to read it.
    """
    if (file := find_gguf(folder)) is not None:
        return _from_gguf(file, dtype or torch.float32, device)
    raw = read_config(folder)
    if raw.get("model_type") == KIND:
        return load_policy(folder)
    if odd := unsupported(raw):
        model: Decoder | Foreign = load_foreign(folder, kind_of(raw, folder), dtype).to(device)
        _slower(folder, odd)
    else:
        model = _from_folder(DecoderConfig.from_hugging_face(raw, folder), folder, dtype, device)
    model.generation = _generation(folder)
    return model


def _slower(place: Path, odd: list[str]) -> None:
    console.note(f"{place.name}: {', '.join(odd)}: goes through transformers, slower than Penchant's own decoder")


def _from_folder(config: DecoderConfig, folder: Path, dtype: torch.dtype | None, device: str) -> Decoder:
    """A decoder with the weights of a folder."""
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


def _from_gguf(file: Path, dtype: torch.dtype, device: str) -> Decoder | Foreign:
    """The model of a `.gguf` file."""
    theirs = read_gguf(file)
    raw = theirs.config.to_dict()
    raw.pop("quantization_config", None)  # the weights are dense now
    if odd := unsupported(raw):
        _slower(file, odd)
        return Foreign(theirs, "causal").to(device, dtype)
    return _filled(DecoderConfig.from_hugging_face(raw, file), theirs.state_dict(), dtype, device, file)


class _Undrawn(TorchFunctionMode):
    """Nothing is drawn for new modules: on the meta device that would load torch's compiler, two seconds and 70 MB."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init":
            return (kwargs or {}).get("tensor", args[0] if args else None)
        return func(*args, **(kwargs or {}))


def _filled(
    config: DecoderConfig, weights: dict[str, torch.Tensor], dtype: torch.dtype, device: str, place: Path
) -> Decoder:
    """A decoder of these weights; `place` is for messages."""
    weights.pop("score.weight", None)  # a reward model's; `heads.safetensors` has it too
    if config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    with torch.device("meta"), _Undrawn():
        model = Decoder(config)
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise CorruptCheckpoint(
            " ".join(str(error).split())[:160], "the weights do not fit the config; fetch them again", file=place
        ) from error
    return model.to(device=device, dtype=dtype).requires_grad_(True)
