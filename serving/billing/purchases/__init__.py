"""Single titles: rented and bought."""
