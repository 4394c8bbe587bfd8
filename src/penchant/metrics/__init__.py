"""Measures of texts, and what can be said of their uncertainty: one file each, NumPy at most."""
