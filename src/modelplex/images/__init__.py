"""Images: handler images, their names and how they are built."""
