"""Recorded answers of the real programs, run against us; see ``golden.py``."""
