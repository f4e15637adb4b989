"""Settings shared by all tests."""

from hypothesis import settings

from cluster.bootstrap import prepare_environment

# Before any test module imports Ray, which reads its environment then.
prepare_environment()

settings.register_profile("constellation", deadline=None, derandomize=True)
settings.load_profile("constellation")
