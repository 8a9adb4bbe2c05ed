"""Intake of viewer events."""
