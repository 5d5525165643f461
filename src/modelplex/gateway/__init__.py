"""Answer: the one port."""
