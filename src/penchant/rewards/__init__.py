"""Rewards: one file each, `build(options, context)` gives a function from completions to one float (or None) each."""
