"""What all rooms need of the machine: errors, files, processors, time, progress, text, pictures."""
