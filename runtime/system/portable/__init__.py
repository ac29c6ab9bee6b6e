"""What Linux, macOS and Windows do differently: flags, locks, syncing, file names, memory."""
