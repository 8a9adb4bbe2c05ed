"""The local stack: the embedded services and everything that `matinee up` keeps running."""
