"""Decoders and the quantities that objectives ask of them."""
