"""The error of this room."""

from matinee.errors import MatineeError


class ModelError(MatineeError):
    """A model cannot be fitted, judged, stored or loaded; the message says what is missing."""
