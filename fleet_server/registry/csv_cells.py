"""Reading the registry's CSV files: each cell is checked, each fault named by row and column. Pure.

Years are CE: a Buddhist year (2569) is refused with the CE year beside it, never guessed.
"""

import csv
import io
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeVar

from fleet_server.access.model import is_unit_path
from fleet_server.errors import Rejected

BANGKOK: Final = timezone(timedelta(hours=7))
MAX_ROWS: Final = 100_000
MAX_FAULTS: Final = 200
"""Faults reported of one file; the rest is only counted."""
_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SERIAL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,63}")
_UNIT_CODE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")

T = TypeVar("T")
R = TypeVar("R")


class ImportKind(StrEnum):
    """What a file lists."""

    UNITS = "units"
    ZONES = "zones"
    POSITIONS = "positions"
    NODES = "nodes"


REQUIRED: Final[Mapping[ImportKind, tuple[str, ...]]] = MappingProxyType(
    {
        ImportKind.UNITS: ("code", "parent", "level", "name_th"),
        ImportKind.ZONES: ("code", "name_th", "lead_station"),
        ImportKind.POSITIONS: ("code", "zone", "station", "kind", "label_th", "lat", "lon"),
        ImportKind.NODES: ("serial", "unit"),
    }
)
OPTIONAL: Final[Mapping[ImportKind, tuple[str, ...]]] = MappingProxyType(
    {
        ImportKind.UNITS: ("name_en",),
        ImportKind.ZONES: ("name_en", "area_km2", "stations"),
        ImportKind.POSITIONS: (
            *("label_en", "node_serial", "channel", "functions", "innovation_type", "owner", "funder", "maintainer"),
            *("warranty_until", "commissioned_at", "supervision_s"),
        ),
        ImportKind.NODES: ("label", "is_simulated"),
    }
)


@dataclass(frozen=True, slots=True)
class RowError:
    """One fault, or one warning, of a file; rows count from 1, the heading, as a spreadsheet shows them."""

    row: int
    column: str
    message: str


@dataclass(slots=True)
class Findings:
    """What is wrong with a file, and what is only odd."""

    errors: list[RowError] = field(default_factory=list)
    warnings: list[RowError] = field(default_factory=list)

    def fault(self, row: int, column: str, message: str) -> None:
        """Add an error: nothing of the file will be written."""
        if len(self.errors) < MAX_FAULTS:
            self.errors.append(RowError(row, column, message))

    def warn(self, row: int, column: str, message: str) -> None:
        """Add a warning."""
        if len(self.warnings) < MAX_FAULTS:
            self.warnings.append(RowError(row, column, message))


class Cells:
    """The cells of one row; reading one that is wrong notes the fault and returns a stand-in."""

    def __init__(self, number: int, cells: Mapping[str, str], findings: Findings) -> None:
        """`number` is the row's, `cells` has every known column."""
        self.number = number
        self._cells = cells
        self._findings = findings

    def read(self, column: str, parse: Callable[[str], T], *, missing: T, required: bool = False) -> T:
        """Return the parsed cell; `missing` when it is empty or wrong."""
        text = self._cells.get(column, "")
        if not text:
            if required:
                self._findings.fault(self.number, column, "must not be empty")
            return missing
        try:
            return parse(text)
        except ValueError as error:
            self._findings.fault(self.number, column, str(error))
            return missing

    def has(self, column: str) -> bool:
        """Whether the file has this column; what it has not stays as it is."""
        return column in self._cells

    def is_empty(self, column: str) -> bool:
        """Whether nothing stands in this cell."""
        return not self._cells.get(column)

    def text(self, column: str, *, required: bool = False) -> str:
        """Return a free text of at most 200 characters."""
        return self.read(column, free_text, missing="", required=required)

    def code(self, column: str, *, required: bool = False) -> str:
        """Return a code."""
        return self.read(column, code_text, missing="", required=required)

    def warn(self, column: str, message: str) -> None:
        """Note something odd."""
        self._findings.warn(self.number, column, message)

    def fault(self, column: str, message: str) -> None:
        """Note a fault."""
        self._findings.fault(self.number, column, message)


def read_table(kind: ImportKind, text: str, findings: Findings) -> Iterator[Cells]:
    """Yield the rows of a file with a heading.

    Raises:
        Rejected: it is no CSV file with the columns of `kind`, or it is too long.
    """
    rows = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(rows, [])]
        _check_header(kind, header)
        for number, row in enumerate(rows, start=2):
            if number > MAX_ROWS + 1:
                raise Rejected(f"The file has more than {MAX_ROWS} rows: split it.")
            if not any(cell.strip() for cell in row):
                continue
            if len(row) > len(header):
                findings.fault(
                    number, "", f"has {len(row)} cells but the heading has {len(header)}: is a comma inside a text without quotes?"
                )
                continue
            yield Cells(
                number, {name: unicodedata.normalize("NFC", cell.strip()) for name, cell in zip(header, row, strict=False)}, findings
            )
    except csv.Error as error:
        raise Rejected(f"The file is not CSV (line {rows.line_num}): {error}") from error


def _check_header(kind: ImportKind, header: Sequence[str]) -> None:
    known = (*REQUIRED[kind], *OPTIONAL[kind])
    missing = [name for name in REQUIRED[kind] if name not in header]
    unknown = [name for name in header if name not in known]
    double = sorted({name for name in header if header.count(name) > 1})
    if missing:
        raise Rejected(f"The heading lacks {', '.join(missing)}. Columns of {kind}: {', '.join(known)}.")
    if unknown:
        raise Rejected(f"The heading has columns that {kind} do not have: {', '.join(name or '(empty)' for name in unknown)}.")
    if double:
        raise Rejected(f"The heading names twice: {', '.join(double)}.")


def free_text(text: str) -> str:
    """Read a text of at most 200 characters on one line."""
    if len(text) > 200:
        raise ValueError(f"is {len(text)} characters long, at most 200 are kept")
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise ValueError("has a control character (a tab, a line break or worse) in it")
    return text


def code_text(text: str) -> str:
    """Read the code of a zone, position or node."""
    if not _CODE.fullmatch(text):
        raise ValueError(f"{text[:64]!r} is no code: 1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit")
    return text


def serial_text(text: str) -> str:
    """Read the serial number of a node, which its certificate must be able to carry."""
    if not _SERIAL.fullmatch(text):
        raise ValueError(f"{text[:64]!r} is no serial number of a node: 1 to 64 of A-Z a-z 0-9 . -, beginning with a letter or digit")
    return text


def unit_code(text: str) -> str:
    """Read the code of a unit, one part of its path."""
    if not _UNIT_CODE.fullmatch(text):
        raise ValueError(f"{text[:64]!r} is no unit code: 1 to 32 of a-z 0-9 _ -, lower case")
    return text


def unit_reference(text: str) -> str:
    """Read a unit named by its path or by its code."""
    if text.startswith("/"):
        if not is_unit_path(text):
            raise ValueError(f"{text[:64]!r} is no unit path such as /bpp/n1/lumpini/")
        return text
    return unit_code(text)


def number_in(low: float, high: float) -> Callable[[str], float | None]:
    """Return a reader of numbers from `low` to `high`."""

    def parse(text: str) -> float | None:
        try:
            value = float(text) if text.isascii() else math.nan
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise ValueError(f"{text[:64]!r} is no number from {low:g} to {high:g}")
        return value

    return parse


def boolean(text: str) -> bool | None:
    """Read yes or no."""
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in words:
        raise ValueError(f"{text[:64]!r} is neither true nor false")
    return words[text.lower()]


def list_of(parse: Callable[[str], R]) -> Callable[[str], tuple[R, ...]]:
    """Return a reader of several values in one cell, apart by `;`, `|` or spaces."""
    return lambda text: tuple(parse(part) for part in re.split(r"[;|\s]+", text) if part)


def iso_date(text: str) -> date | None:
    """Read a date of the common era."""
    match = re.fullmatch(r"([0-9]{4})-([0-9]{2})-([0-9]{2})", text)
    if match is None:
        raise ValueError(f"{text[:64]!r} is no date such as 2027-09-30")
    _check_year(int(match[1]))
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not in the calendar") from error


def instant_ms(text: str) -> int | None:
    """Read a moment; without a zone it is Bangkok time, without a time it is midnight there."""
    match = re.match(r"([0-9]{4})-[0-9]{2}-[0-9]{2}", text)
    if match is None or not text.isascii():
        raise ValueError(f"{text[:64]!r} is no time such as 2026-11-24, 2026-11-24T08:30 (Bangkok) or 2026-11-24T01:30:00Z")
    _check_year(int(match[1]))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text[:64]!r} is no time of the calendar") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=BANGKOK)
    return round(moment.timestamp() * 1000)


def _check_year(year: int) -> None:
    if year >= 2400:
        raise ValueError(f"year {year} looks Buddhist: write the CE year, {year - 543}")
    if year < 1970:
        raise ValueError(f"year {year} is before 1970")
