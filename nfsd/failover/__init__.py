"""Who serves, and how the part passes on: workers of one node, and nodes of one service group.

Owns processes, turns, hooks, fences and addresses. Must not know how a request is served.
"""
