"""The Feast project `matinee`: features of viewers and titles, offline from the lake, online from Redis."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from features.training import training_set

__all__ = ["training_set"]


def __getattr__(name: str) -> Any:
    """`features.training_set`, imported when it is used: readers of the online store need no DuckDB."""
    if name == "training_set":
        from features.training import training_set

        return training_set
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
