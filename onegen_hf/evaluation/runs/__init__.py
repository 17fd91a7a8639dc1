"""What every evaluation shares: a directory, results that survive an interruption, and the settings they belong to."""
