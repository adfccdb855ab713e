# SPDX-License-Identifier: Apache-2.0
"""Waiting for a condition, the only way a test may wait."""

import os
import time

# How many times longer than usual whatever is waited for may take: under a sanitizer, say.
SLOWNESS = float(os.environ.get("TESSERA_SLOWNESS", "1"))
PAUSE_SECONDS = 0.02
PAUSE_SECONDS_MAX = 0.25


class NotInTime(AssertionError):
    """What was waited for did not come."""


def wait_until(predicate, deadline=20.0, what="the condition", unless=None):
    """Returns predicate()'s first true value.  Fails `deadline` seconds from now, naming `what`.

    An exception of the predicate means "not yet" and is shown if time runs out; an AssertionError
    is the test's own and passes through.  `unless`, asked each time, ends the wait early by
    returning the reason why waiting is of no use.
    """
    end = time.monotonic() + deadline * SLOWNESS
    pause = PAUSE_SECONDS
    last = None
    while True:
        try:
            value = predicate()
            if value:
                return value
            last = value
        except AssertionError:
            raise
        except Exception as error:  # pylint: disable=broad-except
            last = error
        reason = unless() if unless else None
        if reason:
            raise NotInTime(f"{what} will not come: {reason}")
        if time.monotonic() >= end:
            raise NotInTime(f"waited {deadline:g} s for {what}; last: {last!r}") from (
                last if isinstance(last, Exception) else None)
        time.sleep(pause)
        pause = min(pause * 1.3, PAUSE_SECONDS_MAX)


def holds_for(predicate, seconds, what="the condition"):
    """Fails as soon as predicate() is false; returns after it has been true for `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert predicate(), f"{what} held no longer"
        time.sleep(PAUSE_SECONDS)
