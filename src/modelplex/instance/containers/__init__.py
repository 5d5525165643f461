"""Containers of other people's making on an instance: started, spoken to, shared, ended."""
