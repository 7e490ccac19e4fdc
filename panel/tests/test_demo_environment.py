"""The demo never touches a real installation, whatever the shell says."""

from pathlib import Path

from panel.demo import prepare_environment


def test_a_real_installations_database_keys_and_provider_are_put_aside() -> None:
    environment = {
        "DATABASE_URL": "postgres://panel@db/panel",
        "REDIS_URL": "redis://redis",
        "SECRET_KEY": "x" * 50,
        "SECRET_KEY_FILE": "/run/secrets/key",
        "UPSTREAM_API_URL": "https://provider.example/api/v2",
        "UPSTREAM_API_KEY": "real-key",
        "SITE_URL": "https://panel.example.com",
    }

    prepare_environment(environment)

    assert environment["DATABASE_URL"].startswith("sqlite:///")
    assert environment["DATABASE_URL"].endswith("/var/demo/panel.sqlite3")
    assert environment["SITE_URL"] == "http://127.0.0.1:8000"
    assert "real-key" not in environment.values()
    for name in ("REDIS_URL", "SECRET_KEY", "SECRET_KEY_FILE", "UPSTREAM_API_URL"):
        assert environment[name] == "", name


def test_the_port_and_the_folder_are_kept(tmp_path: Path) -> None:
    environment = {"PORT": "8001", "VAR_DIR": str(tmp_path)}

    prepare_environment(environment)

    assert environment["PORT"] == "8001"
    assert environment["SITE_URL"] == "http://127.0.0.1:8001"
    # A folder of its own even there: a real installation's database may be next to it.
    assert environment["VAR_DIR"] == str(tmp_path / "demo")
