"""The Feast project `matinee`: features of viewers and titles, offline from the lake, online from Redis."""
