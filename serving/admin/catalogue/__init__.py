"""The catalogue for moderators."""
