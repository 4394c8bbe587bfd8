"""`.gguf` files (llama.cpp's), dequantised through transformers; what it leaves out about RoPE is read here."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
from pathlib import Path
from typing import Any

import torch

from penchant.errors import CorruptCheckpoint, InputError, MissingExtra
from penchant.models.rope import frequencies

__all__ = ["find_gguf", "read_gguf", "rope_of", "unpack_tokenizer"]

_LLAMA3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0,
           "original_max_position_embeddings": 8192}  # fmt: skip


def find_gguf(path: Path) -> Path | None:
    """The `.gguf` file that a path means: itself, or the only one in a folder without `config.json`; else None.

    Raises:
        InputError: the folder holds several, or a file cut in parts.
    """
    if path.suffix == ".gguf" and path.is_file():
        found = [path]
    elif path.is_dir() and not (path / "config.json").is_file():
        found = sorted(path.glob("*.gguf"))
    else:
        return None
    if len(found) > 1:
        raise InputError(f"holds {len(found)} .gguf files", f"name one of them, e.g. {found[0].name}", file=path)
    if found and re.search(r"-\d{5}-of-\d{5}\.gguf$", found[0].name):
        raise InputError("is cut in parts", "join them with llama.cpp's gguf-split --merge", file=found[0])
    return found[0] if found else None


def _library(path: Path) -> Any:
    for name in ("gguf", "accelerate"):  # transformers asks for both
        if importlib.util.find_spec(name) is None:
            raise MissingExtra(f"reading {path.name}", "gguf")
    import gguf

    return gguf


def read_gguf(path: Path) -> Any:
    """The model of a file as transformers' own, all weights dense and in float32.

    Raises:
        MissingExtra: `gguf` is not installed.
        CorruptCheckpoint: truncated, or no GGUF file.
        InputError: transformers does not know the architecture, or how it scales RoPE.
    """
    library = _library(path)
    try:
        reader = library.GGUFReader(path)
    except Exception as error:  # gguf raises ValueError, IndexError and others on broken files
        raise CorruptCheckpoint(f"not a whole GGUF file ({error})", "fetch it again", file=path) from error
    from transformers import AutoModelForCausalLM

    try:
        with contextlib.redirect_stderr(io.StringIO()):  # it draws bars of its own
            model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    except (ValueError, KeyError, NotImplementedError) as error:
        problem = str(error).splitlines()[0][:120]
        raise InputError(f"transformers cannot read it ({problem})", "convert it to safetensors", file=path) from error
    if (rope := rope_of(reader, path)) is not None:
        model.config.rope_parameters = rope
    if model.config.model_type == "mistral":  # transformers takes its default of 4,096 where the file says nothing
        window = reader.get_field("llama.attention.sliding_window")
        model.config.sliding_window = None if window is None else int(window.contents())
    return model


def rope_of(reader: Any, path: Path) -> dict[str, Any] | None:
    """`rope_parameters` where the file scales RoPE, else None; transformers drops both spellings of it.

    Raises:
        InputError: a scaling that is not linear, yarn or llama3's.
    """

    def value(name: str, default: Any = None) -> Any:
        field = reader.get_field(name)
        return default if field is None else field.contents()

    family = value("general.architecture")
    theta = float(value(f"{family}.rope.freq_base", 10000.0))
    kind = value(f"{family}.rope.scaling.type", "none")
    factors = next((t.data for t in reader.tensors if t.name == "rope_freqs.weight"), None)
    if factors is not None:  # llama.cpp divides each frequency by its factor
        stretch = torch.tensor(factors, dtype=torch.float32)
        rope = {**_LLAMA3, "rope_theta": theta, "factor": float(stretch.max())}
        plain = frequencies(2 * len(stretch), {"rope_theta": theta})[0]
        if not torch.allclose(plain / stretch, frequencies(2 * len(stretch), rope)[0], rtol=1e-3):
            raise InputError("scales RoPE by factors that are not Llama 3's", "convert it to safetensors", file=path)
        return rope
    if kind == "none":
        return None
    if kind not in ("linear", "yarn"):
        raise InputError(f"scales RoPE by {kind}", "convert it to safetensors", file=path)
    rope = {"rope_type": kind, "rope_theta": theta, "factor": float(value(f"{family}.rope.scaling.factor", 1.0))}
    if kind == "yarn":
        before = value(f"{family}.rope.scaling.original_context_length")
        rope["original_max_position_embeddings"] = before or value(f"{family}.context_length")
    return rope


def unpack_tokenizer(path: Path, folder: Path) -> None:
    """Write the tokenizer of a file as a Hugging Face folder. Raises as `read_gguf`."""
    _library(path)
    from transformers import AutoTokenizer

    try:
        AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(folder)
    except (ValueError, KeyError, NotImplementedError) as error:
        problem = str(error).splitlines()[0][:120]
        raise InputError(f"its tokenizer cannot be read ({problem})", "convert it", file=path) from error
