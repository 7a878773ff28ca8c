"""Where the joints of a person are: found in pictures, read from files, written to files."""
