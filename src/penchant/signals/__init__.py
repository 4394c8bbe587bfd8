"""Signals, one file each: what a person may prefer, as a score for each segment; higher is better."""
