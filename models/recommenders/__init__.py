"""Recommenders behind one small interface, their training and the lists that are served."""
