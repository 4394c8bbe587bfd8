"""Rows: read, clean, deduplicate, annotate, split, store, pack. No torch."""
