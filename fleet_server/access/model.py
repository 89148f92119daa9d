"""Roles, permissions and scopes. Pure."""

import re
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar, Final, Literal

_PATH: Final = re.compile(r"/(?:[a-z0-9][a-z0-9_-]{0,31}/)*")
MAX_PATH_LENGTH: Final = 200
_USER: Final = re.compile(r"[a-z0-9][a-z0-9._@-]{1,63}")
MIN_PASSWORD_LENGTH: Final = 12
MAX_PASSWORD_LENGTH: Final = 256


def is_unit_path(text: str) -> bool:
    """Whether `text` is a path of the tree of units, such as `/bpp/n1/lumpini/`; the root is `/`."""
    return len(text) <= MAX_PATH_LENGTH and _PATH.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Scope:
    """A subtree of units. Every query takes one and shows nothing outside it."""

    unit_path: str
    ALL: ClassVar["Scope"]

    def __post_init__(self) -> None:
        if not is_unit_path(self.unit_path):
            raise ValueError(f"not a unit path (such as /bpp/n1/lumpini/): {self.unit_path[:MAX_PATH_LENGTH]!r}")

    def contains(self, unit_path: str) -> bool:
        """Whether a unit lies in this subtree."""
        return unit_path.startswith(self.unit_path)

    def narrowed(self, unit_path: str | None) -> "Scope | None":
        """Return the part of this scope below `unit_path` (all of it for None), or None when there is no such part."""
        if unit_path is None or Scope(unit_path).contains(self.unit_path):
            return self
        return Scope(unit_path) if self.contains(unit_path) else None


Scope.ALL = Scope("/")


class Permission(StrEnum):
    """One thing that may be done, inside a scope."""

    VIEW = "view"
    ACKNOWLEDGE_PRESS = "acknowledge_press"
    COMMAND_DEVICE = "command_device"
    EDIT_REGISTRY = "edit_registry"
    ENROL_NODE = "enrol_node"
    DECLARE_EXEMPTION = "declare_exemption"
    """Planned maintenance and excused outages."""
    ACCEPT_SCORE = "accept_score"
    MANAGE_ACCOUNTS = "manage_accounts"
    """Accounts and API tokens."""
    VIEW_AUDIT = "view_audit"


class Role(StrEnum):
    """What somebody is to this system."""

    ADMINISTRATOR = "administrator"
    TECHNICIAN = "technician"
    CCOC_OPERATOR = "ccoc_operator"
    EVALUATOR = "evaluator"
    STATION_CHIEF = "station_chief"
    COMMAND_SIGNER = "command_signer"
    HQ_COMPILER = "hq_compiler"
    ASSET_OWNER = "asset_owner"
    VENDOR = "vendor"
    AUDITOR = "auditor"


PERMISSIONS: Final = MappingProxyType(
    {
        Role.ADMINISTRATOR: frozenset(Permission),
        Role.TECHNICIAN: frozenset({Permission.VIEW, Permission.COMMAND_DEVICE, Permission.ENROL_NODE}),
        Role.CCOC_OPERATOR: frozenset({Permission.VIEW, Permission.ACKNOWLEDGE_PRESS, Permission.COMMAND_DEVICE}),
        Role.EVALUATOR: frozenset({Permission.VIEW, Permission.ACCEPT_SCORE}),
        Role.STATION_CHIEF: frozenset({Permission.VIEW, Permission.ACKNOWLEDGE_PRESS, Permission.DECLARE_EXEMPTION}),
        Role.COMMAND_SIGNER: frozenset({Permission.VIEW}),
        Role.HQ_COMPILER: frozenset({Permission.VIEW}),
        Role.ASSET_OWNER: frozenset({Permission.VIEW}),
        Role.VENDOR: frozenset({Permission.VIEW}),
        Role.AUDITOR: frozenset({Permission.VIEW, Permission.VIEW_AUDIT}),
    }
)
"""What each role may do; where is said by the account's scope."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking."""

    name: str
    """An account's user name, or a token's name."""
    role: Role
    scope: Scope
    via: Literal["session", "token", "local"]
    LOCAL: ClassVar["Principal"]
    """Whoever runs the `fleet` command beside the database."""

    def may(self, permission: Permission) -> bool:
        """Whether the role allows it."""
        return permission in PERMISSIONS[self.role]

    @property
    def actor(self) -> str:
        """How the audit trail names this principal."""
        return self.name if self.via == "session" else f"{self.via}:{self.name}"


Principal.LOCAL = Principal("fleet", Role.ADMINISTRATOR, Scope.ALL, "local")


@dataclass(frozen=True, slots=True)
class Account:
    """A person's account."""

    user: str
    role: Role
    unit_path: str
    is_disabled: bool
    has_password: bool
    """False until its one-time link was used."""
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class Token:
    """An API token; its secret was shown once."""

    name: str
    role: Role
    unit_path: str
    created_by: str
    created_at_ms: int
    expires_at_ms: int | None
    revoked_at_ms: int | None


def password_fault(password: str, user: str) -> str | None:
    """Say what is wrong with a new password; None when it is good.

    Length and no rules of composition. Source: NIST SP 800-63B-4, 3.1.1.2.
    """
    if len(password) < MIN_PASSWORD_LENGTH:
        return f"A password has at least {MIN_PASSWORD_LENGTH} characters; a sentence is good."
    if len(password) > MAX_PASSWORD_LENGTH:
        return f"A password has at most {MAX_PASSWORD_LENGTH} characters."
    if len(set(password)) < 5:
        return "This password repeats too few characters."
    if user.casefold() in password.casefold() and len(password) - len(user) < MIN_PASSWORD_LENGTH // 2:
        return "A password must be more than the user name."
    return None


def user_fault(user: str) -> str | None:
    """Say what is wrong with a user name; None when it is good."""
    if _USER.fullmatch(user):
        return None
    return "A user name has 2 to 64 of a-z 0-9 . _ @ -, beginning with a letter or digit."
