"""Run a model: what runs inside an image's Python. Standard library only, Python >= 3.8."""
