"""Tests of what two nodes need: addresses that move, commands, service managers, the examples."""
