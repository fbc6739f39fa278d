"""Origins: where peers come from, as far as they are told apart when something is shared out.

Owns the rule.  Must not know what is shared out.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

_NETWORK_BITS = 64


@lru_cache(1024)
def origin_of(address: str) -> str:
    """An IPv4 address as it is; of an IPv6 address its network of 64 bits, all of which one machine may have."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address.partition("%")[0], _NETWORK_BITS), strict=False))
