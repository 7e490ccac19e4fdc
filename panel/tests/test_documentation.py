"""The documents and the container files say what the project does, and the project does it."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.core.management import get_commands

from panel.management.commands.health import PROBLEM
from panel.schedule import POLL, SUBMIT

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
# Read by docker compose itself.
COMPOSE_ONLY = {"POSTGRES_PASSWORD", "PUBLISHED_PORT"}


def variables_read() -> set[str]:
    """Every variable that the settings read through `panel.env`."""
    call = re.compile(r"env\.(?:text|flag|number|amount|items)\(\s*\"([A-Z_]+)\"")
    return {
        name
        for source in (ROOT / "panel").glob("*.py")
        for name in call.findall(source.read_text("utf-8"))
    }


def variables_documented() -> set[str]:
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    return set(re.findall(r"^\| `([A-Z_]+)` \|", text, re.MULTILINE))


def variables_of_the_example() -> set[str]:
    text = (ROOT / ".env.example").read_text("utf-8")
    return set(re.findall(r"^([A-Z_]+)=", text, re.MULTILINE))


def test_every_variable_that_is_read_is_documented_and_no_other() -> None:
    assert variables_read() == variables_documented()


def test_the_example_environment_names_only_real_variables() -> None:
    assert variables_of_the_example() <= variables_read() | COMPOSE_ONLY


def test_compose_asks_for_and_sets_only_real_variables() -> None:
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    asked = set(re.findall(r"\$\{([A-Z_]+)", text))
    given = {name for service in OURS for name in SERVICES[service]["environment"]}

    assert asked <= variables_of_the_example()
    assert given <= variables_read()


def test_compose_stops_when_a_secret_is_missing() -> None:
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    assert set(re.findall(r"\$\{([A-Z_]+):\?", text)) == {
        "POSTGRES_PASSWORD",
        "SECRET_KEY",
        "SITE_URL",
    }


@pytest.mark.parametrize("name", OURS)
def test_each_of_our_containers_runs_a_program_and_command_that_exist(name: str) -> None:
    command = SERVICES[name]["command"]

    assert (Path(sys.executable).parent / command[0]).exists()
    if command[:2] == ["python", "manage.py"]:
        assert command[2] in get_commands()


@pytest.mark.parametrize("name", OURS)
def test_each_of_our_containers_runs_without_rights_and_stops_gently(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert int(service["stop_grace_period"].removesuffix("s")) > settings.UPSTREAM_TOTAL_TIMEOUT


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate"}))
def test_each_container_that_stays_has_a_health_check(name: str) -> None:
    test = SERVICES[name]["healthcheck"]["test"]

    assert test[0] == "CMD"
    if name in OURS:
        assert test[1:] == ["python", "manage.py", "health", name]
        assert name in PROBLEM


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_containers_wait_for_what_they_need(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        expected = "service_completed_successfully" if needed == "migrate" else "service_healthy"
        assert needed in SERVICES
        assert how == {"condition": expected}


def test_the_worker_takes_every_queue() -> None:
    command = SERVICES["worker"]["command"]

    assert set(command[command.index("-Q") + 1].split(",")) == {SUBMIT, POLL}
    assert command[command.index("-P") + 1] == "threads"


def test_the_web_port_is_the_same_everywhere_and_published_on_this_machine_alone() -> None:
    web = SERVICES["web"]
    [published] = web["ports"]

    assert published.startswith("127.0.0.1:")
    assert published.endswith(":8000")
    assert "--bind=0.0.0.0:8000" in web["command"]
    assert web["environment"]["PORT"] == "8000"
    assert "EXPOSE 8000" in (ROOT / "Dockerfile").read_text("utf-8")


def test_the_image_is_built_from_pinned_packages_and_does_not_run_as_root() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")

    assert "--require-hashes -r /tmp/requirements.txt" in dockerfile
    assert re.search(r"^USER panel$", dockerfile, re.MULTILINE)
    for command in re.findall(r"manage\.py (\w+)", dockerfile):
        assert command in get_commands()
    assert set(re.findall(r"\b(VAR_DIR|STATIC_ROOT)=", dockerfile)) <= variables_read()


def test_the_image_holds_no_local_state() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert {".env", ".git", "var", ".venv"} <= set(ignored)


@pytest.mark.parametrize(
    "page", sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/**/*.md"))
)
def test_links_and_make_targets_of_the_documents_exist(page: str) -> None:
    check_page(ROOT / page)


def test_links_and_make_targets_of_the_readme_exist() -> None:
    check_page(ROOT / "README.md")


def check_page(page: Path) -> None:
    text = page.read_text("utf-8")
    for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", text):
        assert (page.parent / link).exists(), link
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)`", text)) <= targets
    for command in re.findall(r"manage\.py ([a-z_]+)", text):
        assert command in get_commands(), command
