"""What must be on the disk before anybody is told: changes out to the store, replies out behind them.

Owns the outbox, the process's ways to end itself, the threads for work that may block, the write verifier and the
notice that the process stood still. Must not know requests, clients or files.
"""
