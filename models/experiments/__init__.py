"""Experiments: who gets what, what runs, and what came of it."""
