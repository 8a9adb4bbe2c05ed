"""The lake as a warehouse: landed files in, checked marts out as read-only snapshots."""
