"""Text records of kernels (small language models), and the routing table fitted from them.

Coordizer, routing table and thresholds are a pure function of a set of records, one record for each
kernel: `fit.fit`. To add, remove, spawn or unlearn, change the set of records and fit again.
"""
