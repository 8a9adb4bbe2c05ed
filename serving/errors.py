"""What the commands of this room can fail with; over HTTP it is `serving.problems.Problem`."""

from matinee.errors import MatineeError


class ServingError(MatineeError):
    """An account cannot be created or found."""
