"""Subscriptions: a table of their moves (`machine`), when periods begin, what changes cost, and the doing (`core`)."""
