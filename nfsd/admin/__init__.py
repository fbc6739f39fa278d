"""What can be asked of a running server from outside the protocol: the control socket, listings, figures, blackouts.

Reads state, and changes it only as an administrator has said. Must not know requests.
"""
