"""The secret scan of `make lint` finds what it should, and not what is invented."""

import importlib.util
from types import ModuleType

import pytest

from fashion_pipeline_tests.conftest import ROOT


@pytest.fixture(scope="module")
def scan() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scan_secrets", ROOT / ".ci" / "scan_secrets.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("private key", "-----BEGIN RSA " + "PRIVATE KEY-----"),
        ("AWS key", "key = AKIA" + "QWERTYUIOPASDFGH"),
        ("GitHub token", "ghp_" + "aB3" * 12),
        ("Slack token", "xoxb-" + "123456789012-abcdef"),
        ("password in a URL", "postgresql://fashion:" + "tr0ub4dor3@db/fashion"),
        ("assigned secret", 'API_KEY = "' + "q8WcZ1pX0v" * 3 + '"'),
        ("JSON Web Token", "eyJ" + "hbGciOiJIUzI1NiJ9.eyJ" + "zdWIiOiIxMjM0NTY3.x"),
    ],
)
def test_what_looks_like_a_secret_is_named_without_its_value(scan: ModuleType, kind: str, line: str) -> None:
    (found,) = scan.findings("some/file.py", f"harmless\n{line}\n")
    assert found == f"some/file.py:2: looks like a {kind}"


@pytest.mark.parametrize(
    "line",
    [
        "postgresql+psycopg://user:password@host/fashion",
        "https://host:6333/path",
        'headers: {Authorization: "Bearer ${NORDLYS_TOKEN}"}',
        "DATABASE_URL: postgresql+psycopg://fashion_write:${WRITE_PASSWORD:?}@postgres:5432/fashion",
        'token = "planted-token-0123456789"',
        "AKIA" + "QWERTYUIOPASDFGH  # not-a-secret",
    ],
)
def test_references_and_invented_values_are_left_alone(scan: ModuleType, line: str) -> None:
    assert scan.findings("x", line) == []
