"""ONC RPC over TCP (RFC 5531): bytes to calls, and replies to bytes, within limits.

Owns sockets, record marking, the call's and the reply's header, and the flavours by which callers name themselves.
Must not know what a procedure does: what is done with a call is a function that it is given.
"""
