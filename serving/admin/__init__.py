"""What those who run the service may do, a folder a domain."""
