"""Who is measured: the floors, ours in their forms, and the servers of other people."""
