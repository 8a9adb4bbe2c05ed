"""Figures for those who run the service."""
