"""What all commands share: errors, exit codes, options."""
