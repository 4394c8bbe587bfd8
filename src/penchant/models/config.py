"""The shape of a Llama-family decoder, read from and written as Hugging Face's `config.json`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from penchant.errors import CorruptCheckpoint, InputError
from penchant.files import read_json

__all__ = ["DecoderConfig"]


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of a decoder; field names are those of `transformers.LlamaConfig`."""

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
    eos_token_id: int | None = None
    pad_token_id: int | None = None

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads or self.num_attention_heads % self.num_key_value_heads:
            raise InputError(
                f"{self.hidden_size} wide with {self.num_attention_heads} heads over {self.num_key_value_heads} "
                "key/value heads does not divide",
                "choose hidden_size as a multiple of the heads, and the heads as one of the key/value heads",
            )

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_attention_heads

    def parameters(self) -> int:
        """Number of parameters of the decoder."""
        d, f, kv = self.hidden_size, self.intermediate_size, self.num_key_value_heads * self.head_dim
        block = 2 * d * d + 2 * d * kv + 3 * d * f + 2 * d
        return self.vocab_size * d * (1 if self.tie_word_embeddings else 2) + self.num_hidden_layers * block + d

    def to_hugging_face(self, dtype: str) -> dict[str, Any]:
        """The content of `config.json`, in both the older and the newer spelling of dtype and RoPE."""
        return asdict(self) | {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "attention_bias": False,
            "mlp_bias": False,
            "attention_dropout": 0.0,
            "dtype": dtype,
            "torch_dtype": dtype,
            "rope_parameters": {"rope_type": "default", "rope_theta": self.rope_theta},
            "use_cache": True,
        }

    @classmethod
    def from_folder(cls, folder: Path) -> DecoderConfig:
        """Read `config.json` of a Llama folder.

        Raises:
            InputError: no such folder, or a model that is not of the Llama family.
            CorruptCheckpoint: a size is missing.
        """
        if not (folder / "config.json").is_file():
            raise InputError("not a model folder (no config.json)", "give a Hugging Face folder", file=folder)
        raw = read_json(folder / "config.json")
        rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
        odd = (
            [raw.get("model_type")] * (raw.get("model_type") not in ("llama", "mistral"))
            + [f"rope {rope.get('rope_type')}"] * (rope.get("rope_type", "default") != "default")
            + [key for key in ("attention_bias", "mlp_bias", "sliding_window") if raw.get(key)]
        )
        if odd:
            raise InputError(
                f"this decoder does not support {', '.join(map(str, odd))}",
                "convert the model, or use a plain Llama one",
                file=folder,
            )
        fields = {k: raw[k] for k in cls.__dataclass_fields__ if k in raw}
        fields.setdefault("num_key_value_heads", raw.get("num_attention_heads"))
        fields["rope_theta"] = float(rope.get("rope_theta", raw.get("rope_theta", 10000.0)))
        head = raw.get("head_dim")
        try:
            config = cls(**fields)
        except TypeError as error:
            raise CorruptCheckpoint(f"config.json lacks a size ({error})", "fetch it again", file=folder) from error
        if head and head != config.head_dim:
            raise InputError(f"head_dim {head} differs from hidden_size / heads", "unsupported", file=folder)
        return config
