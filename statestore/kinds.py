"""The kinds of record that a state store keeps.

Owns the kind numbers, which are on disk and therefore never change or get used again, and their names. It
must not know what any protocol keeps in a record's value: the nouns are neutral.

| kind    | what one record says                                             |
|---------|------------------------------------------------------------------|
| HOLDER  | somebody who may hold things, and how to recognise it again       |
| STREAM  | an ordered channel of requests from a holder                      |
| SLOT    | a stream's last request at one place, with its saved answer       |
| OWNER   | a party inside a holder, in whose name it opens                   |
| OPEN    | one open of one object, with its access and denial                |
| RANGE   | the byte ranges that one party holds under one open               |
| GRANT   | a right given to a holder until it is recalled                    |
| INTENT  | a change that was begun and whose outcome is not yet recorded     |
| PENDING | an object that lost its last name while it was open               |
| META    | facts about the store itself, and single facts of its user        |
| NAME    | one row of the object table: id, parent id, name                  |
| ANSWER  | a saved answer to a request that no stream carried                |
| QUARANTINE | a record that could not be trusted, as it was found            |
| PEER    | somebody who was connected, and would otherwise wait in vain      |
"""

from typing import Final

HOLDER: Final = 1
STREAM: Final = 2
SLOT: Final = 3
OWNER: Final = 4
OPEN: Final = 5
RANGE: Final = 6
GRANT: Final = 7
INTENT: Final = 8
PENDING: Final = 9
META: Final = 10
NAME: Final = 11
ANSWER: Final = 12
QUARANTINE: Final = 13
PEER: Final = 14

KIND_NAMES: Final[dict[int, str]] = {
    HOLDER: "HOLDER",
    STREAM: "STREAM",
    SLOT: "SLOT",
    OWNER: "OWNER",
    OPEN: "OPEN",
    RANGE: "RANGE",
    GRANT: "GRANT",
    INTENT: "INTENT",
    PENDING: "PENDING",
    META: "META",
    NAME: "NAME",
    ANSWER: "ANSWER",
    QUARANTINE: "QUARANTINE",
    PEER: "PEER",
}


def kind_name(kind: int) -> str:
    """Return the kind's name, or `kind <n>` for a number that this release does not know."""
    return KIND_NAMES.get(kind, f"kind {kind}")
