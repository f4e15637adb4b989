"""Routing: decide by geometry which kernels (models) answer a query; no learned gate.

`policy` decides; `site_fit` and `calibration` make its table; `mixture` combines kernels;
`load_entropy` measures; `balanced_clusters` finds domains in unlabelled text. Uses no clock,
network, torch or Ray.
"""
