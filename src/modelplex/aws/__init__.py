"""Speak: AWS wire formats, shapes, errors, names and signatures."""
