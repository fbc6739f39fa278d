"""Bytes to values and back: interface descriptions, their compiler, the bounded codec, generated modules."""
