"""Stored payloads: any bytes come back, messages get small, and the format on disk stays."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_server.ingest import compression
from fleet_server.ingest.compression import Compressor, Decompressor

GOLDEN = sorted((Path(__file__).parents[3] / "contract" / "golden").glob("*.json"))


@given(st.binary(max_size=3000))
def test_any_bytes_come_back(payload: bytes) -> None:
    assert Decompressor().decompress(Compressor().compress(payload)) == payload


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_messages_get_small(path: Path) -> None:
    payload = path.read_bytes()
    assert len(Compressor().compress(payload)) < max(64, len(payload) * 0.75)


def test_dictionary_is_never_changed() -> None:
    """Rows on disk need it. If this fails, make a second format beside it; do not change this figure."""
    assert hashlib.sha256(compression._WORDS).hexdigest() == "2619ae81e05bc58bcfc68198b1fabcaa8340e33c885eb64c981800f4f30f20d6"


def test_row_of_the_first_day_is_read() -> None:
    stored = bytes.fromhex("28b52ffd2036cd00009061316232633364346535663630373138227d0100b9253310")
    assert Decompressor().decompress(stored) == b'{"v":1,"status":"online","session":"a1b2c3d4e5f60718"}'
