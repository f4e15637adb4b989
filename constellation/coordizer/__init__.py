"""Coordizer: text to tokens, and tokens to points of the probability simplex.

`coordizer.Coordizer` encodes, decodes and folds (numpy only); `training.train_coordizer` and
`coordinates` fit (scipy); `extension` appends tokens; `statistics` inspects.
"""
