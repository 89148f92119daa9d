"""Why a scenario ended badly."""


class BrokenPromise(Exception):
    """The fleet did not keep a promise; the message says which, and what was seen instead."""


class TookTooLong(BrokenPromise):
    """Something that must come did not come within its bound."""
