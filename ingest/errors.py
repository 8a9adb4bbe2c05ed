"""The errors of this room."""

from matinee.errors import MatineeError


class IngestError(MatineeError):
    """Something that should come in cannot: the message names the file, entry or service, and the remedy."""


class LogUnavailableError(IngestError):
    """The event log does not take or give entries now; trying again later is right."""
