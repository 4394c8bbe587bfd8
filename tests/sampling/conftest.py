"""A small random decoder of any shape."""

import pytest

from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder


@pytest.fixture
def tiny():
    def make(seed=1, **changes):
        sizes = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
        config = DecoderConfig(**(sizes | {"num_key_value_heads": 2, "initializer_range": 0.2} | changes))
        return Decoder(config).initialise(seed)

    return make
