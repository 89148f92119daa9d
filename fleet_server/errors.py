"""What can go wrong, by what the caller must do.

    FleetError
    ├── Transient          try again later, with jitter
    ├── Rejected           do not try again: the request is at fault
    │   ├── NotFound
    │   ├── Conflict       it was changed or used meanwhile
    │   ├── Gone           it is no longer kept: begin anew
    │   └── Forbidden
    └── Untrusted          stop, and raise the alarm

Foreign errors are translated once, at the adapter that meets them, with `raise … from`.
"""


class FleetError(Exception):
    """Base of all errors this server raises on purpose. `str()` is fit for the public; the cause is not."""


class Transient(FleetError):
    """Nothing is wrong with the request; try again later."""


class Rejected(FleetError):
    """The request is at fault; the message says what to change."""


class NotFound(Rejected):
    """There is no such thing, or it is outside the caller's scope."""


class Conflict(Rejected):
    """It was changed, used or made by somebody else meanwhile."""


class Gone(Rejected):
    """What the caller goes on from is no longer kept. It must read the state anew, and go on from `newest`."""

    def __init__(self, message: str, *, newest: int) -> None:
        """`newest` is the number to go on from; to be taken before the state is read."""
        super().__init__(message)
        self.newest = newest


class Forbidden(Rejected):
    """The caller may not do this."""


class Untrusted(FleetError):
    """Something that must be genuine is not."""
