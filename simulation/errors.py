"""The error of this room."""

from matinee.errors import MatineeError


class SimulationError(MatineeError):
    """A simulation cannot be made as asked; the message names the parameter and the remedy."""
