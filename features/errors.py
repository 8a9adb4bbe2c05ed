"""The error of this room."""

from matinee.errors import MatineeError


class FeatureError(MatineeError):
    """Features cannot be defined, joined or read; the message says what is wrong."""
