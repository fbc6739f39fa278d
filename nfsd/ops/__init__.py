"""The operations of NFSv4.0, 4.1 and 4.2, in files by family."""
