"""Exact metrics over full rankings, splits without leaks, intervals over users."""
