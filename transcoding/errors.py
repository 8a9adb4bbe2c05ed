"""What can go wrong between a master and its package."""

from matinee.errors import MatineeError


class TranscodingError(MatineeError):
    """A master cannot become a package; the message says which one and why."""


class TransientError(TranscodingError):
    """The master is not to blame: the work was cancelled or killed, or the file is not at hand. Worth another try."""


class TimeLimitError(TransientError):
    """It was not done in the time it may take: a busy machine, or a film that is too much for it. Tried a few times."""


class MissingMasterError(TransientError):
    """The file is not in the media store: trying again is of use once it is back, not at once."""
