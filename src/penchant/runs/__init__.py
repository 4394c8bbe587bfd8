"""Runs: what a recipe becomes on disk, and the processes that bring it about."""
