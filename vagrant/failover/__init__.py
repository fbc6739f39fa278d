"""What the failover test consists of: two places to run it in, the load, and the verdict from the logs."""
