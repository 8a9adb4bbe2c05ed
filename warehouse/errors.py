"""What a caller of the warehouse can act on."""

from matinee.errors import MatineeError


class WarehouseError(MatineeError):
    """A file, a model, a query or a snapshot of the warehouse is not as it must be."""
