"""The language model: configuration, decoder, cache, sampling, generation, checkpoints, statistics.

Imports nothing eagerly, so that `constellation.kernel.network.config` stays free of torch's import
time.
"""
