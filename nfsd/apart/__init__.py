"""Trees that are served apart: by a keeper, a process of their own, so that a disk that hangs holds up only its users.

Owns the keepers, and the tasks that wait for them without holding the event loop.  Must not know operations.
"""

from nfsd.apart.keepers import Keepers
from nfsd.apart.tasks import current, start

__all__ = ["Keepers", "current", "start"]
