"""From files, variables and arguments to a running process."""
