"""How Hypothesis runs: no time limit for one example, for a test machine has other things to do too."""

from hypothesis import settings

settings.register_profile("house", max_examples=100, deadline=None)
settings.load_profile("house")
