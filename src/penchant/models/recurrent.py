"""The classic sequence-to-sequence model: a recurrent encoder, and a recurrent decoder that attends to what it read.

Bahdanau, Cho and Bengio 2015, "Neural machine translation by jointly learning to align and translate" (a bidirectional
encoder of gated units); Luong, Pham and Manning 2015, "Effective approaches to attention-based neural machine
translation", section 3.1 (global attention, the general score, no input feeding), whose decoder runs over a whole
target at once. transformers has no such class: a saved folder is one of Penchant's, and says so in `model_type`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import AutoConfig, AutoModelForSeq2SeqLM, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from penchant.models.hugging_face import RECURRENT

__all__ = ["RecurrentConfig", "RecurrentForConditionalGeneration"]


class RecurrentConfig(PreTrainedConfig):
    """Shape: `hidden_size` of embeddings and states, `num_hidden_layers` of encoder and decoder each."""

    model_type = RECURRENT

    def __init__(
        self,
        vocab_size: int = 32,
        hidden_size: int = 128,
        num_hidden_layers: int = 1,
        initializer_range: float = 0.02,
        **more: Any,
    ):
        self.vocab_size, self.hidden_size, self.num_hidden_layers = vocab_size, hidden_size, num_hidden_layers
        self.initializer_range = initializer_range
        super().__init__(**{"tie_word_embeddings": True, **more, "is_encoder_decoder": True})


class _Gru(nn.GRU):
    """torch's, with the weights looked up at each call: threads that share a model put leaves of their own in place."""

    def weights(self) -> list[Tensor]:
        """In torch's order."""
        return [getattr(self, name) for names in self._all_weights for name in names]

    def over(self, x: Tensor, start: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """States [S, time, ...] over [S, time, hidden], and the last of each layer [layers, S, ...]; `lengths` [S]:
        what lies behind a row's length is not seen, in either direction.
        """
        both = self.bidirectional
        if lengths is None:
            return torch.gru(x, start, self.weights(), True, self.num_layers, 0.0, False, both, True)
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        out, last = torch.gru(
            packed.data, packed.batch_sizes, start, self.weights(), True, self.num_layers, 0.0, False, both
        )
        states, _ = pad_packed_sequence(packed._replace(data=out), batch_first=True, total_length=x.shape[1])
        return states, last[:, packed.unsorted_indices]


class _Encoder(nn.Module):
    def __init__(self, config: RecurrentConfig, embedding: nn.Embedding):
        super().__init__()
        self.embed_tokens = embedding
        self.gru = _Gru(
            config.hidden_size, config.hidden_size // 2, config.num_hidden_layers, batch_first=True, bidirectional=True
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> BaseModelOutput:
        """Both directions' states side by side [S, time, hidden]; padding stands at the right."""
        x = self.embed_tokens(input_ids)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        start = x.new_zeros(2 * self.gru.num_layers, len(x), self.gru.hidden_size)
        states = self.gru.over(x, start, mask.sum(1).clamp_min(1))[0]
        return BaseModelOutput(last_hidden_state=states)


class RecurrentForConditionalGeneration(PreTrainedModel):
    """The model, with the face of transformers' sequence-to-sequence classes; it keeps no cache while writing."""

    config_class = RecurrentConfig
    base_model_prefix = "model"
    _tied_weights_keys = {  # noqa: RUF012  # as transformers declares it
        "lm_head.weight": "shared.weight",
        "encoder.embed_tokens.weight": "shared.weight",
    }

    def __init__(self, config: RecurrentConfig):
        super().__init__(config)
        width = config.hidden_size
        self.shared = nn.Embedding(config.vocab_size, width)
        self.encoder = _Encoder(config, self.shared)
        self.bridge = nn.Linear(width, width * config.num_hidden_layers)
        self.decoder = _Gru(width, width, config.num_hidden_layers, batch_first=True)
        self.score = nn.Linear(width, width, bias=False)
        self.attended = nn.Linear(2 * width, width)
        self.lm_head = nn.Linear(width, config.vocab_size, bias=False)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
        elif isinstance(module, nn.Linear | nn.GRU):
            for weight in module.parameters(recurse=False):
                if weight.dim() > 1:
                    nn.init.uniform_(weight, -(weight.shape[1] ** -0.5), weight.shape[1] ** -0.5)
                else:
                    nn.init.zeros_(weight)

    def get_encoder(self, modality: str | None = None) -> nn.Module:
        """What reads the source."""
        return self.encoder

    def get_input_embeddings(self) -> nn.Module:
        """Of source and target."""
        return self.shared

    def get_output_embeddings(self) -> nn.Module:
        """From states to logits."""
        return self.lm_head

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        encoder_outputs: BaseModelOutput | None = None,
        **_: Any,
    ) -> Seq2SeqLMOutput:
        """Logits [S, target, vocabulary].

        Args:
            input_ids, attention_mask: int64 [S, source]; padding stands at the right.
            decoder_input_ids: int64 [S, target].
            encoder_outputs: the encoder's, where it has read the source already.
        """
        if encoder_outputs is None:
            encoder_outputs = self.encoder(input_ids, attention_mask)
        memory = encoder_outputs.last_hidden_state  # [S, source, hidden]
        assert memory is not None and decoder_input_ids is not None
        there = memory.new_ones(memory.shape[:2]) if attention_mask is None else attention_mask.to(memory.dtype)
        mean = (memory * there[..., None]).sum(1) / there.sum(1, keepdim=True).clamp_min(1)
        layers = self.config.num_hidden_layers
        start = torch.tanh(self.bridge(mean)).reshape(len(memory), layers, -1).transpose(0, 1).contiguous()
        states = self.decoder.over(self.shared(decoder_input_ids), start)[0]
        scores = torch.bmm(self.score(states), memory.transpose(1, 2)).float()  # [S, target, source]
        weights = scores.masked_fill(there[:, None] == 0, float("-inf")).softmax(-1).to(memory.dtype)
        both = torch.cat([torch.bmm(weights, memory), states], dim=-1)
        return Seq2SeqLMOutput(logits=self.lm_head(torch.tanh(self.attended(both))), encoder_last_hidden_state=memory)


AutoConfig.register(RECURRENT, RecurrentConfig, exist_ok=True)
AutoModelForSeq2SeqLM.register(RecurrentConfig, RecurrentForConditionalGeneration, exist_ok=True)
