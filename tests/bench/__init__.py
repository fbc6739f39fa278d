"""The wire-level benchmark: a load generator in C, and the runner that compares two servers."""
