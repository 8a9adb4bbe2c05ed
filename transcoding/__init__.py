"""A master becomes a verified adaptive package: look, plan, encode, package, verify, publish."""
