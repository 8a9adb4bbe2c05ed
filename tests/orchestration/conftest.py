import os
import sys
from collections.abc import Iterator

import dagster as dg
import pytest

from matinee.settings import Settings


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.Definitions]:
    """The code location, loaded as Dagster does, over a home that exists only for it."""
    from orchestration.instance import definitions, prepare

    before = dict(os.environ)
    settings = Settings.load(home=tmp_path_factory.mktemp("definitions"))
    settings.home.create()
    prepare(settings)
    try:
        yield definitions()
    finally:
        os.environ.clear()
        os.environ.update(before)
        sys.modules.pop("orchestration.definitions", None)
