"""NGINX before the API: HTTPS, HTTP/2, limits, a cache of posters, and segments straight from the disk."""
