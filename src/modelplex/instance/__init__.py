"""Hold models: the shell around core.residency."""
