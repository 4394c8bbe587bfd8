"""Algorithms: one file each, that picks a source, an advantage and an objective."""
