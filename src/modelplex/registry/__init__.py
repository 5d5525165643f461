"""The door in front of the registry: who may come in, and to which repositories."""
