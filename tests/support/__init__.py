"""What all suites share: the launcher of servers, the client of the wire, the judge, waiting.

Only `control` and `launcher` name modules of nfsd; the wire client knows nothing of the server but its XDR.
"""
