"""Models that share a worker: who lives with whom, whose turn it is, and who moves out."""
