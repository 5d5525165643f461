"""Bury and bear: the parent of every process."""
