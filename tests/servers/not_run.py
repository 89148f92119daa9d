"""What could not be tested on this machine, and why; said apart at the end of a run, and a failure in CI."""

import os
from typing import NoReturn

import pytest

_REASONS = pytest.StashKey[dict[str, str]]()


class Unavailable(Exception):
    """A real server or tool cannot be had on this machine; the message says why and what would help."""


def is_ci() -> bool:
    """Whether everything must run (`CI=true`)."""
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def not_run(config: pytest.Config, what: str, reason: str) -> NoReturn:
    """Skip the test that asked for `what`, or fail it in CI, and remember it for the summary."""
    config.stash.setdefault(_REASONS, {})[what] = reason
    if is_ci():
        pytest.fail(f"not run: {what} — {reason} (CI=true asks for everything)", pytrace=False)
    pytest.skip(f"not run: {what} — {reason}")


def summary(config: pytest.Config) -> list[str]:
    """Return a line for each thing that was not run."""
    return [f"not run: {what} — {reason}" for what, reason in sorted(config.stash.get(_REASONS, {}).items())]
