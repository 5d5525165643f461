"""Model archives that may be anybody's: unpacked safely, read, and packed."""
