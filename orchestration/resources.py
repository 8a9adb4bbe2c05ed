"""What assets are given: the settings of the home that they work in."""

import dagster as dg

from matinee.settings import Settings


class MatineeResource(dg.ConfigurableResource):
    """The settings, read when a run starts; `home` empty: the one of the environment."""

    home: str = ""

    def settings(self) -> Settings:
        return Settings.load(home=self.home or None)
