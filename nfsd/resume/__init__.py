"""Taking over what the store holds, before the first connection: state, interrupted requests, losses, tombs.

Owns the order of a start. Must not know connections, nor who decides that it is this process's turn.
"""
