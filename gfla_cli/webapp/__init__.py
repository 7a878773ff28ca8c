"""`gfla app`: a web page on this machine, and the same jobs over HTTP for scripts."""
