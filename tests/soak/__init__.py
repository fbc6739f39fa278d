"""Long and hostile loads against a real serving process: requests that are wrong, and deaths in the middle of work."""
