"""The ground floor of Matinee: what every room stands on."""

from matinee.lake import connect

__all__ = ["connect"]
