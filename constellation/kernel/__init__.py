"""The small language models (kernels): networks, text generation, statistics, adapters, files.

Imports nothing eagerly, so that `constellation.kernel.network.config` stays free of torch's import
time.
"""
