"""Keep workers: the host's side of the zygote and its workers."""
