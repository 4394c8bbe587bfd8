"""Judgement: from completions and log-probs to figures with intervals and paired tests."""
