"""Text to tokens: tokenizer, segments, control tokens, prompts. No torch."""
