"""Coordizer: a tokenizer whose every token has a point on the probability simplex.

`coordizer.Coordizer` encodes and decodes text and computes a text's basin, its point on the simplex
(numpy only). `training.train_coordizer` and `coordinates` fit the points (scipy); `extension`
appends tokens; `statistics` measures a coordizer on texts.
"""
