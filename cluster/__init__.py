"""Start, stop and change a constellation on this machine, and the `constellation` command line.

The composition root: the one package that may import all others.
"""
