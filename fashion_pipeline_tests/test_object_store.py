"""The data location on S3: the line's own tests once more, against a moto server."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fashion_pipeline_tests.conftest import ROOT
from fashion_pipeline_tests.object_store import BUCKET, s3_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """The environment in which s3:// leads to an empty moto server."""
    with s3_server() as bucket:
        yield bucket.environ


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize(
    "tests",
    [
        "test_capture.py",
        "test_apply.py",
        "test_guards.py",
        "test_bad_feeds.py",
        "test_embed.py",
        "test_points.py",
    ],
)
def test_the_lines_tests_pass_on_s3(s3: dict[str, str], postgres_url: str, tests: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow and not bench",
         "-W", "ignore::DeprecationWarning", "-W", "ignore::pytest.PytestUnraisableExceptionWarning",
         f"fashion_pipeline_tests/line/{tests}"],
        cwd=ROOT,
        env={**os.environ, **s3, "TEST_DATA_URL": f"s3://{BUCKET}/data", "DATABASE_URL": postgres_url},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
