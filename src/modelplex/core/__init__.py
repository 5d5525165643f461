"""Decide: what lives where. Pure; no I/O, no clock, no randomness."""
