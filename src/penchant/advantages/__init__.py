"""Advantages: pure functions from rewards to credit, one file each."""
