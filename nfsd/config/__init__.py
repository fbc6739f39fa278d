"""What the administrator has chosen: the settings' types, and how they are read and checked.

Owns the one `Config` that the composition root hands to everybody else.
Must not know how a setting is used, nor what an export's options mean (`nfsd.exports`).
"""

from nfsd.config.load import load_config, parse_address, parse_export, rank_of_level
from nfsd.config.model import (
    MOVES_WITH_LEASE,
    Address,
    ClientRule,
    ClientSpec,
    Cluster,
    Config,
    ConfigError,
    ExportSpec,
    Limits,
    Problem,
    as_plain,
)

__all__ = [
    "MOVES_WITH_LEASE",
    "Address",
    "ClientRule",
    "ClientSpec",
    "Cluster",
    "Config",
    "ConfigError",
    "ExportSpec",
    "Limits",
    "Problem",
    "as_plain",
    "load_config",
    "parse_address",
    "parse_export",
    "rank_of_level",
]
