"""`make setup` on machines that lack something says what to do."""

import subprocess
from pathlib import Path

from tests.processes import ROOT


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_an_old_python_is_refused_with_the_way_to_name_another(tmp_path: Path) -> None:
    # Says its version, and fails every question that `make` asks it.
    old = script(tmp_path / "python3", 'test "$1" = -V && echo Python 3.9.2; exit 1')

    result = make("demo", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}")

    assert result.returncode == 2
    assert f"Python 3.11 or newer is needed, and {old} is Python 3.9.2." in result.stderr
    assert "PYTHON=python3.13 make demo" in result.stderr
    assert not (tmp_path / "venv").exists()


def test_no_python_at_all_is_named(tmp_path: Path) -> None:
    result = make("setup", f"PYTHON={tmp_path / 'none'}", f"VENV={tmp_path / 'venv'}")

    assert result.returncode == 2
    assert "Python 3.11 or newer is needed" in result.stderr


def test_a_python_without_venv_names_the_package_to_install(tmp_path: Path) -> None:
    bare = script(tmp_path / "python3", 'case "$2" in *venv*) exit 1;; esac; exit 0')

    result = make("setup", f"PYTHON={bare}", f"VENV={tmp_path / 'venv'}")

    assert result.returncode == 2
    assert "apt install python3-venv" in result.stderr


def test_other_requirements_are_installed_anew(tmp_path: Path) -> None:
    """What is installed is remembered by the content of the file, so an upgrade is not missed."""
    venv = tmp_path / "venv"
    plan = make("--dry-run", "setup", f"VENV={venv}").stdout
    [stamp] = [word for word in plan.split() if word.startswith(f"{venv}/.setup-")][-1:]
    Path(stamp).parent.mkdir()

    assert "pip install" in plan
    Path(stamp).touch()
    assert "pip install" not in make("--dry-run", "setup", f"VENV={venv}").stdout
    Path(stamp).rename(venv / ".setup-of-an-older-file")
    assert "pip install" in make("--dry-run", "setup", f"VENV={venv}").stdout
