import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from matinee.settings import Settings
from warehouse import dbt


@pytest.fixture(scope="session")
def empty() -> Iterator[Settings]:
    """A home whose models are all built from nothing: relations are there, rows are not."""
    with tempfile.TemporaryDirectory(prefix="matinee-dbt-") as root:
        settings = Settings.load(home=Path(root))
        settings.home.create()
        built = dbt.run(settings, ["build", "--resource-type", "model", "--resource-type", "snapshot"])
        assert built.success, built.failed
        yield settings
