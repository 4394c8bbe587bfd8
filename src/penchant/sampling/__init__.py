"""Sampling from a policy, with the log-probs of what was sampled."""
