"""What each fact leads to, a function for each: of requests, owner, artifacts, workers."""
