"""One COMPOUND: decoded as a whole, evaluated operation by operation, answered once.

Owns the operation table and the rules that hold for every operation. Must not know what any operation means: that
is in `nfsd/ops`.
"""
