"""What all tests share: the same examples of properties in every run, and ^C as a terminal sends it."""

from __future__ import annotations

import signal

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

# A shell starts what it puts into the background with SIGINT ignored, and nohup with SIGHUP; a child inherits that, and would never see
# those of a test.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
