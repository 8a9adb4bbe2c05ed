"""The SQL of accounts, for all of its modules."""

from pathlib import Path

from matinee.db.queries import load

QUERIES = load(Path(__file__).parent)
