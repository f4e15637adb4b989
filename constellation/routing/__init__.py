"""Which kernel gets a query: decisions by geometry alone, nothing learned by gradient.

`policy` decides; `sites` and `calibration` make its table; `mixture` and `load` score; `discovery`
finds domains where there are no labels. Knows no clock, network, torch or Ray.
"""
