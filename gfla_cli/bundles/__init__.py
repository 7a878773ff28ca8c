"""Models as folders: read, write, find, download, upload and convert them."""
