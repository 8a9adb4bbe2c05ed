"""Finding titles and people by words."""
