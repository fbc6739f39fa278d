"""What clients hold: clientids, sessions, owners, opens and byte-range locks, and their records in the store."""
