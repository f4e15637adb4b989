"""Records of the text of kernels, and what is fitted from a set of them.

A constellation is a pure function of a set of records, one for each kernel: `fitting.fit`. Whoever
adds, removes, spawns or unlearns changes the set and fits again.
"""
