"""The shape of a Llama-family decoder, read from and written as Hugging Face's `config.json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from penchant.errors import CorruptCheckpoint, InputError
from penchant.files import read_json
from penchant.models.scaling import SCALINGS, check_scaling

__all__ = ["FAMILIES", "DecoderConfig", "read_config", "unsupported"]

FAMILIES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
# What transformers takes where config.json says nothing (version 4 wrote only what differs from this).
_ABSENT: dict[str, dict[str, Any]] = {
    "llama": {"max_position_embeddings": 2048},
    "mistral": {"max_position_embeddings": 131072, "sliding_window": 4096, "num_key_value_heads": 8},
    "qwen2": {"max_position_embeddings": 32768, "sliding_window": 4096, "num_key_value_heads": 32},
    "qwen3": {"max_position_embeddings": 32768, "sliding_window": 4096, "num_key_value_heads": 32, "head_dim": 128},
}
_OPTIONAL = {
    "llama": ("attention_bias", "mlp_bias"),
    "mistral": ("sliding_window",),
    "qwen2": ("sliding_window", "layer_types"),
    "qwen3": ("attention_bias", "sliding_window", "layer_types"),
}
_NEEDED = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
_SIZES = (*_NEEDED, "num_key_value_heads", "max_position_embeddings", "head_dim", "sliding_window")
_SLIDING, _FULL = "sliding_attention", "full_attention"


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes and habits of a decoder; field names are those of `transformers.LlamaConfig` and its kin.

    Attributes:
        model_type: llama (SmolLM too), mistral, qwen2 or qwen3.
        head_dim: 0 for hidden_size / num_attention_heads.
        rope_parameters: `rope_type` (default, linear, llama3, yarn), `rope_theta` and what the type asks for; an
            absent theta is `rope_theta`.
        attention_bias, mlp_bias: biases on the four projections of attention (llama, qwen3), of the feed-forward
            (llama). qwen2 has them on queries, keys and values always.
        sliding_window: how many tokens, itself included, a token sees in the layers that slide (not llama).
        layer_types: `sliding_attention` or `full_attention` a layer (qwen2, qwen3); empty: all slide if
            there is a window.

    Raises:
        InputError: a size that cannot be, or that the family does not have.
    """

    vocab_size: int
    hidden_size: int = 128
    intermediate_size: int = 384
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 4
    max_position_embeddings: int = 512
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    tie_word_embeddings: bool = True
    initializer_range: float = 0.02
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    model_type: str = "llama"
    head_dim: int = 0
    rope_parameters: dict[str, Any] = field(default_factory=dict)
    attention_bias: bool = False
    mlp_bias: bool = False
    sliding_window: int | None = None
    layer_types: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        set_ = object.__setattr__  # frozen for others
        self._check_sizes(_SIZES[:-2])
        uneven = self.hidden_size % self.num_attention_heads if self.model_type == "llama" or not self.head_dim else 0
        if not self.head_dim:
            set_(self, "head_dim", self.hidden_size // self.num_attention_heads)
        rope = {"rope_type": "default", "rope_theta": self.rope_theta} | dict(self.rope_parameters)
        set_(self, "rope_parameters", rope)
        set_(self, "rope_theta", rope["rope_theta"])
        default = _FULL if self.sliding_window is None else _SLIDING
        set_(self, "layer_types", tuple(self.layer_types) or (default,) * self.num_hidden_layers)
        self._check_sizes(_SIZES[-2:])
        if uneven or self.num_attention_heads % self.num_key_value_heads:
            raise InputError(
                f"{self.hidden_size} wide with {self.num_attention_heads} heads over {self.num_key_value_heads} "
                "key/value heads does not divide",
                "choose hidden_size as a multiple of the heads, and the heads as one of the key/value heads",
            )
        if self.head_dim % 2:
            raise InputError(f"head_dim {self.head_dim} is odd", "RoPE turns pairs: make it even")
        self._check_family()
        check_scaling(rope)

    def _check_sizes(self, names: Sequence[str]) -> None:
        for name in names:
            value = getattr(self, name)
            if value is None and name == "sliding_window":
                continue
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{name} is {value!r}", "give a whole number of at least 1")
        for name in ("rms_norm_eps", "rope_theta", "initializer_range"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise InputError(f"{name} is {value!r}", "give a number above 0")

    def _check_family(self) -> None:
        kind = self.model_type
        if kind not in FAMILIES:
            raise InputError(f"model_type {kind!r} is not known", f"choose one of {', '.join(FAMILIES)}")
        for name in ("attention_bias", "mlp_bias", "sliding_window"):
            if getattr(self, name) and name not in _OPTIONAL[kind]:
                raise InputError(f"a {kind} model has no {name}", "leave it out, or choose another model_type")
        if len(self.layer_types) != self.num_hidden_layers or set(self.layer_types) - {_SLIDING, _FULL}:
            raise InputError(
                f"layer_types {list(self.layer_types)} do not name {self.num_hidden_layers} layers",
                f"give {_SLIDING} or {_FULL} for each",
            )
        if _SLIDING in self.layer_types and not self.sliding_window:
            raise InputError("layers slide, but there is no sliding_window", "set it")

    @property
    def qkv_bias(self) -> bool:
        """Whether queries, keys and values have biases."""
        return self.attention_bias or self.model_type == "qwen2"

    @property
    def qk_norm(self) -> bool:
        """Whether queries and keys are normalised a head."""
        return self.model_type == "qwen3"

    def window(self, layer: int) -> int | None:
        """How many tokens, itself included, a token of that layer sees; None for all before it."""
        return self.sliding_window if self.layer_types[layer] == _SLIDING else None

    def parameters(self) -> int:
        """Number of parameters of the decoder."""
        d, f = self.hidden_size, self.intermediate_size
        inner, kv = self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim
        block = 2 * d * inner + 2 * d * kv + 3 * d * f + 2 * d
        block += (inner + 2 * kv) * self.qkv_bias + d * self.attention_bias
        block += (2 * f + d) * self.mlp_bias + 2 * self.head_dim * self.qk_norm
        return self.vocab_size * d * (1 if self.tie_word_embeddings else 2) + self.num_hidden_layers * block + d

    def to_hugging_face(self, dtype: str) -> dict[str, Any]:
        """The content of `config.json`, in both the older and the newer spelling of dtype and RoPE."""
        found = asdict(self) | {
            "architectures": [FAMILIES[self.model_type]],
            "hidden_act": "silu",
            "attention_dropout": 0.0,
            "dtype": dtype,
            "torch_dtype": dtype,
            "use_cache": True,
        }
        if self.rope_parameters["rope_type"] != "default":
            found["rope_scaling"] = {k: v for k, v in self.rope_parameters.items() if k != "rope_theta"}
        for name in ("attention_bias", "mlp_bias", "sliding_window", "layer_types"):
            if name not in _OPTIONAL[self.model_type]:
                del found[name]
        if "layer_types" in found:
            slide = [t == _SLIDING for t in self.layer_types]
            found["use_sliding_window"] = any(slide)
            found["max_window_layers"] = slide.index(True) if any(slide) else self.num_hidden_layers
        return found

    @classmethod
    def from_folder(cls, folder: Path) -> DecoderConfig:
        """Read `config.json` of a folder.

        Raises:
            InputError: no such folder, a model of another family, or sizes that cannot be.
            CorruptCheckpoint: a size is missing.
        """
        raw = read_config(folder)
        if odd := unsupported(raw):
            raise InputError(
                f"this decoder does not support {', '.join(odd)}",
                "convert the model, or use one of the families " + ", ".join(FAMILIES),
                file=folder,
            )
        return cls.from_hugging_face(raw, folder)

    @classmethod
    def from_hugging_face(cls, raw: dict[str, Any], folder: Path | None = None) -> DecoderConfig:
        """From the content of a `config.json` of a known family; `folder` is for messages. Raises as `from_folder`."""
        kind, slides = raw["model_type"], raw.get("use_sliding_window", raw["model_type"] == "mistral")
        known = {"rms_norm_eps": 1e-6, "tie_word_embeddings": False} | _ABSENT[kind] | raw
        leave = {"attention_bias", "mlp_bias", "sliding_window", "layer_types"} - set(_OPTIONAL[kind])
        leave |= set() if slides else {"sliding_window", "layer_types"}
        fields = {k: known[k] for k in cls.__dataclass_fields__ if known.get(k) is not None and k not in leave}
        fields.setdefault("num_key_value_heads", raw.get("num_attention_heads"))
        fields["rope_parameters"] = _rope(raw)
        if "layer_types" in _OPTIONAL[kind] and "sliding_window" in fields and not fields.get("layer_types"):
            first, count = raw.get("max_window_layers", 28), raw.get("num_hidden_layers", 0)
            fields["layer_types"] = (_FULL,) * min(first, count) + (_SLIDING,) * (count - first)
        missing = [k for k in _NEEDED if k not in fields]
        if missing:
            raise CorruptCheckpoint(f"config.json lacks {', '.join(missing)}", "fetch it again", file=folder)
        try:
            return cls(**fields)
        except InputError as error:
            raise InputError(f"config.json: {error.problem}", error.mend, file=folder) from error


def read_config(folder: Path) -> dict[str, Any]:
    """The content of a folder's `config.json`. Raises InputError where there is none."""
    if not (folder / "config.json").is_file():
        raise InputError("not a model folder (no config.json)", "give a Hugging Face folder", file=folder)
    return read_json(folder / "config.json")


def _rope(raw: dict[str, Any]) -> dict[str, Any]:
    """RoPE's settings, from the newer spelling (`rope_parameters`) or the older (`rope_scaling`, `rope_theta`)."""
    rope = dict(raw.get("rope_parameters") or raw.get("rope_scaling") or {})
    rope["rope_type"] = rope.pop("type", None) or rope.get("rope_type") or "default"
    rope["rope_theta"] = float(rope.get("rope_theta") or raw.get("rope_theta") or 10000.0)
    if "original_max_position_embeddings" in SCALINGS.get(rope["rope_type"], ()):
        context = raw.get("original_max_position_embeddings") or raw.get("max_position_embeddings")
        rope.setdefault("original_max_position_embeddings", context)
    return rope


CAUSAL, SCORER = "ForCausalLM", "ForSequenceClassification"


def unsupported(raw: dict[str, Any]) -> list[str]:
    """What in a `config.json` this decoder cannot do, in words; empty where it can do all of it."""
    kind = raw.get("model_type")
    if kind not in FAMILIES:
        return [str(kind)]
    named = raw.get("architectures") or [FAMILIES[kind]]
    rope = _rope(raw)
    partial = raw.get("partial_rotary_factor") or rope.get("partial_rotary_factor") or 1.0
    return (
        [str(a) for a in named if a.replace(SCORER, CAUSAL).lower() != FAMILIES[kind].lower()]
        + [f"RoPE of type {rope['rope_type']}"] * (rope["rope_type"] not in SCALINGS)
        + [f"partial_rotary_factor {partial}"] * (partial != 1.0)
        + [f"hidden_act {raw.get('hidden_act')}"] * (raw.get("hidden_act", "silu") not in ("silu", "swish"))
        + [f"attention_dropout {raw.get('attention_dropout')}"] * bool(raw.get("attention_dropout"))
        + ["quantised weights"] * bool(raw.get("quantization_config"))
    )
