"""Playing: the right to watch, signed media, positions."""
