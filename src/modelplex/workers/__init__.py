"""Keeps workers: the host's side of the zygote and of the processes forked from it."""
