"""Several versions of one model on one instance, and how one follows another."""
