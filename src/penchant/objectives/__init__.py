"""Objectives: pure functions from quantities to sums, one file each."""
