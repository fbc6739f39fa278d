"""What clients hold: clientids, sessions, owners, opens and byte-range locks, and their records in the store.

The records and the tables are `model.py` and `tables.py`; what may change them stands in a file for each noun, every
refusal in `conflicts.py`. Who conflicts with whom is `statestore`'s to say.
"""
