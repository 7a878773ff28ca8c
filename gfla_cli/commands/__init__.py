"""One thin file per command: options in, one pipeline call, results out. Heavy imports stay in the bodies."""
