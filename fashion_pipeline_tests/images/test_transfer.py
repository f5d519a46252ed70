from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from fashion_pipeline.images.queue import FILES, lane_name
from fashion_pipeline.images.transfer import conditions, retry_after
from fashion_pipeline.images.types import ERRORS, ImageRequest, is_permanent


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("9" * 400, 604_800.0),
        ("-5", None),
        ("²", None),
        ("soon", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Sun, 06 Nov 1994 08:49:37", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 604_800.0),
        ("Fri, 31 Dec 9999 23:59:59 -9999", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value) == seconds


def test_retry_after_a_date() -> None:
    value = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 80 < (retry_after(value) or 0) <= 90


def test_every_failure_is_permanent_or_not() -> None:
    assert {error for error in ERRORS if is_permanent(error)} >= {
        "not_an_image",
        "too_large",
        "forbidden_address",
    }
    assert not {"timeout", "rate_limited", "truncated", "dns"} & {
        error for error in ERRORS if is_permanent(error)
    }
    for status in (400, 401, 404, 405, 410, 451):
        assert is_permanent(f"http_{status}")
    for status in (304, 403, 408, 425, 429, 430, 500, 502, 503, 504, 520):
        assert not is_permanent(f"http_{status}")


def test_only_known_validators_are_sent() -> None:
    request = ImageRequest("k", "http://a.com/", "s")
    assert conditions(request) == {}
    request = ImageRequest("k", "http://a.com/", "s", etag='W/"e"', last_modified="yesterday")
    assert conditions(request) == {"If-None-Match": 'W/"e"', "If-Modified-Since": "yesterday"}


def test_lanes_are_hosts() -> None:
    assert {lane_name(url) for url in ("http://A.com/1", "https://a.com.:443/2", "HTTP://a.COM/")} == {
        "a.com"
    }
    assert {lane_name(url) for url in ("file:///a.jpg", "FILE:/a.jpg", "/a.jpg")} == {FILES}
    assert {lane_name(url) for url in ("", "about:error", "http://[http://a.com/", "a.jpg")} == {""}
