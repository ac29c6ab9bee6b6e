"""Jobs: files of cells that are described in the background, and survive a restart."""
