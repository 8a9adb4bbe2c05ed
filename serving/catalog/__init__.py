"""Browsing: lists, titles and what resembles them."""
