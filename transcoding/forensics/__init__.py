"""A leaked copy back to the playback session that it came from."""
