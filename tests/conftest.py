"""Settings of all tests."""

from __future__ import annotations

import signal

from hypothesis import settings

# A busy machine must not fail a property: how long one example takes is not what we test.
settings.register_profile("vipnet", deadline=None, print_blob=True)
settings.load_profile("vipnet")

# Whoever runs the tests in the background of a shell without job control has SIGINT ignored (POSIX,
# "Signals and Error Handling"), and every program that a test starts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
