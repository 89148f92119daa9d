"""What can go wrong with certificates, by what the caller must do.

    ProvisioningError
    ├── Transient     try again later, with jitter
    ├── Rejected      do not try again: the request is at fault, the message says what to change
    │   └── Missing   a file is not there: the message names the command that makes it
    └── Untrusted     stop, and raise the alarm

Foreign errors are translated once, where they are met, with `raise … from`.
"""

from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import DuplicateExtension, ExtensionNotFound, InvalidVersion

UNREADABLE: Final = (ValueError, TypeError, UnsupportedAlgorithm, DuplicateExtension, ExtensionNotFound, InvalidVersion)
"""What `cryptography` raises for bytes that are no certificate, request or list, at once or when a part of it is looked at."""


class ProvisioningError(Exception):
    """Base of all errors raised here on purpose. `str()` is one sentence, fit for the public; the cause is not."""


class Transient(ProvisioningError):
    """Nothing is wrong with the request; try again later."""


class Rejected(ProvisioningError):
    """The request is at fault; the message says what to change."""


class Missing(Rejected):
    """A key, a certificate or a folder that is needed is not there."""


class Untrusted(ProvisioningError):
    """A key, a certificate or a list that must be genuine is not."""
