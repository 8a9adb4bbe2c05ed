"""The one family of errors that a caller can act on."""


class MatineeError(Exception):
    """Something a person can mend: the message names the thing, the value and the remedy.

    Each room derives its own type. The command line prints the message as one line and exits 1;
    anything that is not a `MatineeError` is a defect and keeps its traceback.
    """


class HomeError(MatineeError):
    """The folder that holds all state cannot be used: read-only, full, not ours."""


class SettingsError(MatineeError):
    """A setting is missing, malformed or asks for something that is not built."""


class StackError(MatineeError):
    """A service of the local stack cannot be started, reached or stopped."""


class ContractError(MatineeError):
    """Data does not keep a contract between rooms."""
