"""The models of a server: the registry, each one's life, its workers and its queue."""
