"""Sequence models: what comes next, from the order (and the moments) of what came before."""
