"""Profiles: who of an account watches, what they may see, what they prefer, and what they keep."""
