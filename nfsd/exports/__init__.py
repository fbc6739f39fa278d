"""Exports: what is served, where clients see it, to whom, and as whom they act.

Owns export options, client lists, squashing, the numbers of exports and the namespace. It must not know operations or
connections.
"""

from nfsd.exports.clients import ClientMatch, resolve_name
from nfsd.exports.export import Export, parse_exports
from nfsd.exports.namespace import Namespace
from nfsd.exports.numbers import Numbers
from nfsd.exports.options import AUTH_NONE, AUTH_SYS, ExportError, Options, parse_options

__all__ = [
    "AUTH_NONE",
    "AUTH_SYS",
    "ClientMatch",
    "Export",
    "ExportError",
    "Namespace",
    "Numbers",
    "Options",
    "parse_exports",
    "parse_options",
    "resolve_name",
]
