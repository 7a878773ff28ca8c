"""The jobs, each a straight line of named steps: files in, files out."""
