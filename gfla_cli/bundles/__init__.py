"""Models as folders: reading, writing, finding, converting."""
