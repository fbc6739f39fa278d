"""Two virtual machines that share a disk, and the failover test. Must not be imported by the server."""
