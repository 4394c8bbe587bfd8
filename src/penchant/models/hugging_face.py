"""Every architecture that is not our decoder's, through transformers: slower, behind the same face.

Sequences come flat and are padded to [batch, time] in here only. Hidden states are what a model hands to its output
layer, so that logits are states @ head.T + head_bias whatever it does before (BERT's transform, T5's scaling).
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from penchant.errors import CorruptCheckpoint, InputError
from penchant.models.lora import adapted, merged_state, read_adapter, save_lora
from penchant.models.tensors import disk_full

__all__ = ["RECURRENT", "Foreign", "ForeignConfig", "kind_of", "load_foreign", "padded"]

_AUTO = {"causal": "AutoModelForCausalLM", "seq2seq": "AutoModelForSeq2SeqLM", "masked": "AutoModelForMaskedLM"}
RECURRENT = "penchant_recurrent"  # the one class of our own, in `models.recurrent`
_ENDLESS = 1 << 20  # positions of a model that counts distances


@dataclass(frozen=True)
class ForeignConfig:
    """What the house asks of a model's config; `theirs` is transformers' own."""

    theirs: Any
    vocab_size: int
    max_position_embeddings: int
    bos_token_id: int | None
    eos_token_id: int | list[int] | None
    pad_token_id: int | None
    decoder_start_token_id: int | None

    def to_hugging_face(self, dtype: str) -> dict[str, Any]:
        """The content of `config.json`."""
        found: dict[str, Any] = self.theirs.to_dict()
        return found | {"dtype": dtype, "torch_dtype": dtype}


class _Output(nn.Linear):
    """An output layer that keeps what it is handed instead of multiplying: [tokens, vocabulary] never exists."""

    seen: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        return x.new_empty(len(x), 0, self.out_features)  # what a model does to its logits afterwards costs nothing


class Foreign(nn.Module):
    """A model of transformers with the decoder's face: `forward`, `head`, `config`, `dtype`, `device`.

    Dropout is off, in training too: a policy must say twice the same.

    Args:
        inner: transformers' model, with a language-modelling head.
        kind: `causal`, `seq2seq` or `masked`.

    Attributes:
        shares_prompts: False: `forward` takes no `prefix`.
        takes: what transformers' forward can be given.
        generation: the content of `generation_config.json`.
        pads: whether padding before a text changes nothing; None where nobody has asked.

    Raises:
        InputError: its logits are not a linear function of states.
    """

    shares_prompts = False

    def __init__(self, inner: Any, kind: str):
        super().__init__()
        self.inner, self.kind = inner.eval(), kind
        out = inner.get_output_embeddings()
        if not isinstance(out, nn.Linear):
            raise InputError(f"{type(inner).__name__} has no linear output layer", "take another architecture")
        self.scale = _scale(inner, kind, out)
        out.__class__ = _Output  # keeps names, ties and what is saved
        self.config = _config(inner, out)
        self.generation: dict[str, Any] = {}
        self.pads: bool | None = None
        self.takes = frozenset(inspect.signature(inner.forward).parameters)

    def train(self, mode: bool = True) -> Foreign:
        """Note the mode; the model inside stays as in evaluation, without dropout."""
        self.training = mode
        return self

    @property
    def _out(self) -> Any:
        return self.inner.get_output_embeddings()

    @property
    def head(self) -> Tensor:
        """The output matrix [vocabulary, hidden]."""
        return self._out.weight

    @property
    def head_bias(self) -> Tensor | None:
        """What is added to logits [vocabulary]; None for nothing."""
        parts = [self._out.bias, getattr(self.inner, "final_logits_bias", None)]
        found = [part.reshape(-1) for part in parts if part is not None]
        return torch.stack(found).sum(0) * self.scale if found else None

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the weights."""
        return self.head.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.head.device

    def forward(self, inputs: Tensor, positions: Tensor, lengths: Tensor, role: Tensor | None = None) -> Tensor:
        """Hidden states [T, hidden] of whole sequences: inputs, positions [T], lengths [S].

        Args:
            positions: not used: a model counts its own, from 0 in each sequence.
            role: uint8 [T], 0 where a token is of its sequence's source and 1 where it is of its target (seq2seq);
                the states of sources are 0.
        """
        if self.kind != "seq2seq":
            ids, mask = padded(inputs, lengths)
            return self.states(input_ids=ids, attention_mask=mask.long())[0][mask]
        if role is None:
            raise ValueError("a sequence-to-sequence model needs the role of each token")
        target = role.bool()
        owner = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
        targets = torch.bincount(owner[target], minlength=len(lengths))
        source, there = padded(inputs[~target], lengths - targets)
        ids, mask = padded(inputs[target], targets)
        found, _ = self.states(input_ids=source, attention_mask=there.long(), decoder_input_ids=ids)
        return found.new_zeros(len(inputs), found.shape[-1]).index_copy(0, target.nonzero().squeeze(1), found[mask])

    def states(self, **inputs: Any) -> tuple[Tensor, Any]:
        """States [batch, time, hidden] for transformers' own padded inputs, and all else that it returns."""
        rest = self.inner(**({"use_cache": False} if "use_cache" in self.takes else {}) | inputs)
        out = self._out
        found, out.seen = out.seen, None
        return (found if self.scale == 1.0 else found * self.scale), rest

    def session(self, prompts: Sequence[Sequence[int]]) -> Any:
        """Begin to write after prompts: a `Session`, see `session.begin`."""
        from penchant.models.session import begin

        return begin(self, prompts)

    def save(self, folder: Path, weights: Mapping[str, Tensor] | None = None) -> None:
        """Write what transformers writes; adapters are merged, and stand in `adapter/`.

        Args:
            weights: the whole weights by name, where the model holds a part of them only.
        """
        own = {k.removeprefix("inner."): v for k, v in weights.items()} if weights else None
        if adapted(self.inner):
            save_lora(self.inner, folder / "adapter", weights=own)
            own = merged_state(self.inner, own)
        with disk_full(folder):
            self.inner.save_pretrained(folder, state_dict=own, save_peft_format=False)

    def saved(self, folder: Path) -> dict[str, Tensor]:
        """What `save` wrote, as `load_state_dict` takes it."""
        if adapted(self.inner):
            own = self.inner.state_dict() | read_adapter(folder / "adapter")
        else:
            own = load_foreign(folder, self.kind, self.dtype).inner.state_dict()
        return {f"inner.{k}": v for k, v in own.items()}


def padded(flat: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [S, longest] of flat ids [T], and a mask of what is no padding."""
    mask = torch.arange(int(lengths.max()), device=flat.device) < lengths[:, None]
    return flat.new_zeros(mask.shape).masked_scatter(mask, flat), mask


@torch.no_grad()
def _scale(inner: Any, kind: str, out: nn.Linear) -> float:
    """The factor that a model puts on its logits (1 for most), found on a few tokens.

    Raises:
        InputError: what it does to them is more than that.
    """
    seen: list[Tensor] = []
    hook = out.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    ids = torch.arange(1, 4, device=out.weight.device)[None] % len(out.weight)
    extra = {"decoder_input_ids": ids} if kind == "seq2seq" else {}
    try:
        theirs = inner(input_ids=ids, **extra).logits.float()
    finally:
        hook.remove()
    ours = nn.functional.linear(seen[-1].float(), out.weight.float(), None if out.bias is None else out.bias.float())
    late = getattr(inner, "final_logits_bias", None)
    ours = ours if late is None else ours + late.float()
    factor = float((ours * theirs).sum() / ours.square().sum().clamp_min(1e-12))
    config = inner.config
    known = [1.0, getattr(config, "logit_scale", None), 1 / (getattr(config, "logits_scaling", None) or 1.0)]
    factor = next((float(k) for k in known if k and abs(factor / k - 1) < 0.02), factor)
    apart = float((ours * factor - theirs).norm() / theirs.norm().clamp_min(1e-12))
    if getattr(config, "final_logit_softcapping", None) or apart > 0.03:
        raise InputError(
            f"{type(inner).__name__} bends its logits", "take an architecture whose logits are a linear layer's"
        )
    return factor


def _config(inner: Any, out: nn.Linear) -> ForeignConfig:
    theirs = inner.config
    most = next((n for n in (getattr(theirs, k, None) for k in ("max_position_embeddings", "n_positions")) if n), 0)
    if theirs.model_type in ("t5", "mt5", "umt5", "longt5"):
        most = 0  # distances, not positions
    for name, part in inner.named_modules():  # RoBERTa's positions begin after that of its padding
        if name.endswith("position_embeddings") and getattr(part, "padding_idx", None) is not None:
            most = part.num_embeddings - part.padding_idx - 1
    named = {k: getattr(theirs, k, None) for k in ("bos_token_id", "eos_token_id", "pad_token_id")}
    start = getattr(theirs, "decoder_start_token_id", None)
    start = named["bos_token_id"] if start is None else start
    return ForeignConfig(theirs, len(out.weight), int(most or _ENDLESS), **named, decoder_start_token_id=start)


def kind_of(raw: Mapping[str, Any], folder: Path | None = None) -> str:
    """`causal`, `seq2seq` or `masked`, from the content of a `config.json`; `folder` is for messages.

    Raises:
        InputError: transformers knows no language model of that type.
    """
    from transformers.models.auto import modeling_auto as auto

    if raw.get("model_type") == RECURRENT:
        import penchant.models.recurrent  # noqa: F401  # makes it known to transformers

        return "seq2seq"
    family, named = raw.get("model_type"), " ".join(raw.get("architectures") or [])
    fits = [
        kind
        for kind, table in (
            ("seq2seq", auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES),
            ("masked", auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES),
            ("causal", auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
        )
        if family in table
    ]
    if not fits:
        raise InputError(
            f"transformers knows no language model of type {family!r}", "take another, or convert it", file=folder
        )
    for word, kind in (
        ("CausalLM", "causal"),
        ("LMHead", "causal"),
        ("MaskedLM", "masked"),
        ("Conditional", "seq2seq"),
    ):
        if word in named and kind in fits:
            return kind
    return fits[0]


def load_foreign(folder: Path, kind: str, dtype: torch.dtype | None = None) -> Foreign:
    """Load a folder through transformers.

    Args:
        kind: see `kind_of`.
        dtype: number format of the weights; None keeps the saved one.

    Raises:
        InputError: no safetensors there, or a model without a language-modelling head.
        CorruptCheckpoint: weights are missing, truncated or of the wrong shape.
    """
    import transformers
    from safetensors import SafetensorError

    try:
        inner, info = getattr(transformers, _AUTO[kind]).from_pretrained(
            folder, dtype=dtype or "auto", use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except (SafetensorError, RuntimeError) as error:
        raise CorruptCheckpoint(" ".join(str(error).split())[:160], "fetch it again", file=folder) from error
    except (OSError, ValueError, json.JSONDecodeError) as error:
        problem = " ".join(str(error).split())[:160]
        raise InputError(
            f"transformers cannot load it ({problem})", "give a folder with safetensors", file=folder
        ) from error
    if missing := sorted(info["missing_keys"]):
        raise InputError(
            f"has no {missing[0]}{f' and {len(missing) - 1} more' if missing[1:] else ''}",
            "give a model with a language-modelling head, whole",
            file=folder,
        )
    return Foreign(inner, kind)
