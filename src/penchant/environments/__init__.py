"""Environments: what an agent acts in. States in, actions out, rewards back; Gymnasium's words and shapes."""
