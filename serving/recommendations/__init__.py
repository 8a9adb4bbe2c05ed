"""Rows of recommended titles."""
