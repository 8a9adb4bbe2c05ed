"""What people watch through: the HTTP API, one folder a domain, and the page at `/`."""
