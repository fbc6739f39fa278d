"""Workloads on a real Linux NFS client in a User Mode Linux guest."""
