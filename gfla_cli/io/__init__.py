"""Images, videos and files."""
