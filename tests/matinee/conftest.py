"""Homes in which the stack runs as processes of its own; nothing is left running."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from matinee.settings import Settings

# Tests are imported by their path; what they share lies beside them.
sys.path.insert(0, str(Path(__file__).parent))

from stack_harness import Stack


@pytest.fixture
def stack(base: Settings, tmp_path: Path) -> Iterator[Stack]:
    """A home whose PostgreSQL and Redis are given by URL, so that only the dummy services are started."""
    made = Stack(tmp_path / "home", {"MATINEE_DATABASE_URL": base.database(), "MATINEE_REDIS_URL": base.redis()})
    yield made
    made.tidy()


@pytest.fixture
def whole_stack(tmp_path: Path) -> Iterator[Stack]:
    """A home with its own PostgreSQL and Redis."""
    made = Stack(tmp_path / "home")
    yield made
    made.tidy()
