"""Why a demo cannot run."""


class DemoFailed(Exception):
    """The demo cannot start or go on; the message is one sentence for the person who started it."""
