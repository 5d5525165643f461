"""What an instance was told and what it ordered: written down, read back, and told as a story."""
