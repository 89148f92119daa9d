import hashlib
import time

from firmware_agent.drivers.camera.authorization import Credentials, answer

MUFASA = Credentials("Mufasa", "Circle Of Life")


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def test_the_example_of_rfc_2617() -> None:
    challenge = (
        'Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
        'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    header = answer([challenge], "GET", "/dir/index.html", MUFASA, cnonce="0a4f113b")
    assert header is not None
    assert 'response="6629fae49393a05397450978507c4ef1"' in header
    assert 'opaque="5ccc069c403ebaf9f0171e9517f40e41"' in header
    assert 'qop=auth, nc=00000001, cnonce="0a4f113b"' in header


def test_the_example_of_rfc_7616() -> None:
    who = Credentials("Mufasa", "Circle of Life")
    common = 'Digest realm="http-auth@example.org", qop="auth, auth-int", nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"'
    cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    sha = answer([f"{common}, algorithm=SHA-256"], "GET", "/dir/index.html", who, cnonce=cnonce)
    assert sha is not None
    assert 'response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"' in sha
    assert "algorithm=SHA-256" in sha
    md = answer([f"{common}, algorithm=MD5"], "GET", "/dir/index.html", who, cnonce=cnonce)
    assert md is not None
    assert 'response="8ca523f5e9506fed4657c9700eebdbec"' in md


def test_cameras_without_qop() -> None:
    uri = "rtsp://192.0.2.7:554/stream"
    header = answer(['Digest realm="IP Camera(12345)", nonce="abc", stale="FALSE"'], "DESCRIBE", uri, MUFASA)
    first, second = md5("Mufasa:IP Camera(12345):Circle Of Life"), md5(f"DESCRIBE:{uri}")
    expected = md5(f"{first}:abc:{second}")
    assert header is not None
    assert f'response="{expected}"' in header
    assert "qop" not in header


def test_digest_is_preferred_in_either_order() -> None:
    both = ['Basic realm="IP Camera"', 'Digest realm="IP Camera", nonce="abc"']
    for challenges in (both, both[::-1]):
        header = answer(challenges, "DESCRIBE", "rtsp://x/", MUFASA)
        assert header is not None
        assert header.startswith("Digest ")


def test_basic_when_there_is_nothing_better() -> None:
    assert answer(['Basic realm="/"'], "DESCRIBE", "rtsp://x/", MUFASA) == "Basic TXVmYXNhOkNpcmNsZSBPZiBMaWZl"
    unknown = 'Digest realm="x", nonce="y", algorithm=SHA-512-256'
    assert answer([unknown, "Basic realm=x"], "DESCRIBE", "rtsp://x/", MUFASA) == "Basic TXVmYXNhOkNpcmNsZSBPZiBMaWZl"


def test_what_cannot_be_answered() -> None:
    assert answer([], "DESCRIBE", "rtsp://x/", MUFASA) is None
    assert answer(["Bearer x", "Digest realm=x"], "DESCRIBE", "rtsp://x/", MUFASA) is None


def test_the_password_is_not_shown() -> None:
    assert "Circle" not in repr(MUFASA)


def test_a_challenge_costs_in_proportion_to_its_length() -> None:
    """The event loop that reads it also serves panic buttons; a camera, or who took its place, may send any."""

    def cost_s(length: int) -> float:
        began_s = time.process_time()
        for _ in range(10):
            assert answer(["Digest " + "a" * length], "DESCRIBE", "rtsp://x/", MUFASA) is None
        return time.process_time() - began_s

    small_s, large_s = (min(cost_s(length) for _ in range(5)) for length in (1_000, 8_000))
    assert large_s < 24 * small_s
