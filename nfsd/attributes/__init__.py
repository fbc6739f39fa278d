"""File attributes on the wire: one table row each, compiled encoders, decoders of what a client sets.

The room's public names are here.  It owns which attributes exist in which minor version, how
their values are found and written, and which a client may set.  It must not know operations,
state or sessions: a caller hands it a node, its stat result and an Environment, and gets bytes.
"""

from nfsd.attributes.decode import NOTHING, decode_settable
from nfsd.attributes.encode import (
    check_readable,
    clone_granularity,
    encode,
    encode_fattr,
    plan_for,
    rdattr_error_fattr,
)
from nfsd.attributes.owners import NAMES, NameUnknown, resolve_owner
from nfsd.attributes.rows import ATTRIBUTES, SETTABLE, SUPPORTED, Attribute
from nfsd.attributes.settable import SetAttrs
from nfsd.attributes.verify import same

__all__ = [
    "ATTRIBUTES",
    "NAMES",
    "NOTHING",
    "SETTABLE",
    "SUPPORTED",
    "Attribute",
    "NameUnknown",
    "SetAttrs",
    "check_readable",
    "clone_granularity",
    "decode_settable",
    "encode",
    "encode_fattr",
    "plan_for",
    "rdattr_error_fattr",
    "resolve_owner",
    "same",
]
