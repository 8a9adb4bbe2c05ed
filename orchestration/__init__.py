"""The roof: Dagster definitions and the command line. It calls the rooms and holds no logic of its own."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
