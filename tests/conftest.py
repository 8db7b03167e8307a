"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# A busy machine must not fail a property: how long one example takes is not what we test.
settings.register_profile("vipnet", deadline=None, print_blob=True)
settings.load_profile("vipnet")
