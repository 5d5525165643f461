"""Runs a model inside an image's own Python: standard library only, Python 3.8 or newer."""
