"""Pictures and videos: the only place where their files are opened."""
