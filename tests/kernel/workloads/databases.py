"""SQLite, which lives by correct locks, sizes and cache revalidation. Runs in the guest."""

import sqlite3

BUSY_TIMEOUT_S = 60.0


def create(path: str) -> None:
    """Make the database."""
    with sqlite3.connect(path, timeout=BUSY_TIMEOUT_S) as connection:
        connection.execute("create table line (author text, number integer, filler blob)")
        connection.execute("create table counter (value integer)")
        connection.execute("insert into counter values (0)")
    connection.close()


def write(path: str, author: str, transactions: int) -> None:
    """Insert a line and count it, in one transaction each."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    for number in range(transactions):
        connection.execute("begin immediate")
        connection.execute("insert into line values (?, ?, zeroblob(700))", (author, number))
        connection.execute("update counter set value = value + 1")
        connection.execute("commit")
    connection.close()


def inspect(path: str) -> dict[str, object]:
    """Return the integrity check's answer, the counter, and each author's numbers."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)
    integrity = connection.execute("pragma integrity_check").fetchall()
    counter = connection.execute("select value from counter").fetchone()[0]
    authors: dict[str, list[int]] = {}
    for author, number in connection.execute("select author, number from line order by author, number"):
        authors.setdefault(author, []).append(number)
    connection.close()
    return {"integrity": [row[0] for row in integrity], "counter": counter, "authors": authors}
