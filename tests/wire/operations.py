"""The operations of `tests.support.operations`, under the name by which the crash matrix knows them."""

from tests.support.operations import *  # noqa: F403
