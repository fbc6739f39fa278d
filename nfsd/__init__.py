"""What NFSv4 means by the facts that `statestore` keeps: RPC, operations, exports, the command line."""
