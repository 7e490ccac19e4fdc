"""The settings of a public site are safe, and the unsafe ones stop the start."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.processes import PYTHON, ROOT, clean_environment, manage

_SETTINGS = [
    "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SESSION_COOKIE_HTTPONLY", "SECURE_SSL_REDIRECT",
    "SECURE_HSTS_SECONDS", "SECURE_REFERRER_POLICY", "SECURE_CONTENT_TYPE_NOSNIFF",
    "SECURE_CROSS_ORIGIN_OPENER_POLICY", "X_FRAME_OPTIONS", "ALLOWED_HOSTS", "REQUIRE_STAFF_2FA",
    "SESSION_COOKIE_SAMESITE", "TRUSTED_PROXY_COUNT", "STAFF_SESSION_HOURS",
    "STAFF_IDLE_MINUTES", "STAFF_CONFIRM_MINUTES", "DEBUG",
]  # fmt: skip


@pytest.fixture
def production(tmp_path: Path) -> dict[str, str]:
    """The environment of a site behind a proxy, as docs/install.md describes it."""
    return {
        "SITE_URL": "https://panel.example.com",
        "SECRET_KEY": "y7Zf3-0Qv1_u4nTqk2RbXs8wLjHd5CgPmA6eWoNiKtUJrVxE9zBYaS",
        "BEHIND_PROXY": "true",
        "TRUSTED_PROXY_COUNT": "1",
        # As if unset: the tests' own servers run without them.
        "REQUIRE_STAFF_2FA": "",
        "STAFF_CONFIRM_MINUTES": "",
        "VAR_DIR": str(tmp_path),
    }


def test_djangos_and_our_own_deployment_checks_find_nothing(production: dict[str, str]) -> None:
    checked = manage(
        "check", "--deploy", "--fail-level", "WARNING", "--database", "default",
        environment=production,
    )  # fmt: skip

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_site_with_https_has_safe_cookies_and_headers(production: dict[str, str]) -> None:
    assert read_settings(production) == {
        "SESSION_COOKIE_SECURE": True,
        "CSRF_COOKIE_SECURE": True,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SECURE_SSL_REDIRECT": True,
        "SECURE_HSTS_SECONDS": 31_536_000,
        "SECURE_REFERRER_POLICY": "same-origin",
        "SECURE_CONTENT_TYPE_NOSNIFF": True,
        "SECURE_CROSS_ORIGIN_OPENER_POLICY": "same-origin",
        "X_FRAME_OPTIONS": "DENY",
        "ALLOWED_HOSTS": ["panel.example.com", "127.0.0.1", "localhost", "[::1]"],
        "REQUIRE_STAFF_2FA": True,
        "TRUSTED_PROXY_COUNT": 1,
        "STAFF_SESSION_HOURS": 12,
        "STAFF_IDLE_MINUTES": 60,
        "STAFF_CONFIRM_MINUTES": 10,
        "DEBUG": False,
    }


def read_settings(environment: dict[str, str]) -> object:
    # What the settings leave to Django is Django's default.
    program = (
        "import json, os; os.environ['DJANGO_SETTINGS_MODULE'] = 'panel.settings'; "
        "from django.conf import settings as s; "
        f"print(json.dumps({{name: getattr(s, name) for name in {_SETTINGS}}}))"
    )
    done = subprocess.run(
        [PYTHON, "-c", program], cwd=ROOT, env=clean_environment(environment),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_debug_is_refused_where_others_can_see_it(production: dict[str, str]) -> None:
    refused = manage("check", environment={**production, "DEBUG": "true"})

    assert refused.returncode != 0
    assert "DEBUG must be unset" in refused.stderr


def test_debug_is_allowed_on_ones_own_machine(tmp_path: Path) -> None:
    own = {"DEBUG": "true", "SITE_URL": "http://127.0.0.1:8000", "VAR_DIR": str(tmp_path)}

    assert manage("check", environment=own).returncode == 0


@pytest.mark.parametrize(
    ("missing", "named"), [("BEHIND_PROXY", "panel.W013"), ("SECRET_KEY", "panel.W012")]
)
def test_what_is_missing_is_named(production: dict[str, str], missing: str, named: str) -> None:
    del production[missing]

    checked = manage("check", "--deploy", "--fail-level", "WARNING", environment=production)

    assert checked.returncode == 1
    assert named in checked.stderr
