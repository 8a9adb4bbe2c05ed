"""What passes between rooms and clients: the viewer event and the catalogue feed."""
