"""The compiler from XDR interface descriptions (xdr/x/*.x) to committed Python modules (xdr/generated/*.py).

lexer: characters to tokens. parser: tokens to a model. layout: the model's types on the wire. decoding and
encoding: statements. emitter: the module. __main__: the command line.
"""
