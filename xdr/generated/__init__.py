"""Modules that `python -m xdr.compiler` writes; they are committed and never edited."""
