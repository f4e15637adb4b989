"""The language model: configuration, decoder, cache, sampling, generation, checkpoints, statistics.

Imports nothing eagerly, so that `constellation.kernel.config` stays free of torch's import time.
"""
