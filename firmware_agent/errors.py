"""What can go wrong on a node, by what the caller must do.

    AgentError
    ├── Transient              try again later, with jitter
    ├── Rejected               do not try again: the request or the configuration is at fault
    │   └── ConfigurationError a setting is missing or wrong; the message names it
    └── Untrusted              stop, and say so: something that must be genuine is not

Foreign errors are translated once, at the adapter that meets them, with `raise … from`.
"""


class AgentError(Exception):
    """Base of all errors the agent raises on purpose. `str()` is one clear sentence for a technician."""


class Transient(AgentError):
    """Nothing is wrong with the request; try again later."""


class Rejected(AgentError):
    """The request is at fault; the message says what to change."""


class ConfigurationError(Rejected):
    """A setting is missing or wrong; the message names the setting."""


class Untrusted(AgentError):
    """Something that must be genuine is not."""
