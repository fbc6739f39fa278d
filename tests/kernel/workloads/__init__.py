"""What guests run. Each module needs only the standard library, and none imports another."""
