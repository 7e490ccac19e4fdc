"""The documents and the container files say what the project does, and the project does it."""

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.core.management import get_commands

from panel.management.commands.health import PROBLEM
from panel.schedule import POLL, SUBMIT
from wallet.proofs import MOST_BYTES

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
# They end by themselves.
ONE_SHOT = {name for name, service in SERVICES.items() if service.get("restart") == "no"}
UNITS = sorted((ROOT / "docs" / "systemd").glob("*.service"))
# Read by docker compose itself.
COMPOSE_ONLY = {"POSTGRES_PASSWORD", "PUBLISHED_PORT"}


def variables_read() -> set[str]:
    """Every variable that the settings read through `panel.env`."""
    call = re.compile(r"env\.(?:text|flag|number|days|amount|items|site)\(\s*\"([A-Z_]+)\"")
    return {
        name
        for source in (ROOT / "panel").glob("**/*.py")
        if "tests" not in source.parts
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


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONE_SHOT))
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


def test_only_what_may_end_ends() -> None:
    assert {"migrate", "backup"} == ONE_SHOT


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_container_can_write_into_its_own_root(name: str) -> None:
    assert SERVICES[name]["read_only"] is True


def composed(folder: Path, *more: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """docker-compose's own word on the file, with the example environment filled in; needs no engine."""
    program = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
    shutil.copy(ROOT / "docker-compose.yml", folder)
    shutil.copytree(ROOT / "docs", folder / "docs", dirs_exist_ok=True)
    values = {"SECRET_KEY": "k" * 40, "POSTGRES_PASSWORD": "pw", **changes}
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    kept = [line for line in lines if line.partition("=")[0] not in values]
    (folder / ".env").write_text("\n".join([*kept, *(f"{k}={v}" for k, v in values.items()), ""]))
    files = [word for name in ("docker-compose.yml", *more) for word in ("-f", name)]
    return subprocess.run(
        [*program, *files, "config", "--quiet"], cwd=folder, capture_output=True, text=True,
        timeout=180, check=False, env={"PATH": os.environ["PATH"], "HOME": str(folder)},
    )  # fmt: skip


@pytest.mark.compose
def test_docker_compose_itself_takes_the_file_and_asks_for_each_secret(tmp_path: Path) -> None:
    taken = composed(tmp_path)
    assert (taken.returncode, taken.stdout) == (0, ""), taken.stderr
    with_files = composed(tmp_path, "docs/compose/secrets.yml")
    assert with_files.returncode == 0, with_files.stderr

    for name in ("SECRET_KEY", "POSTGRES_PASSWORD", "SITE_URL"):
        assert composed(tmp_path, **{name: ""}).returncode != 0, name


def test_secrets_from_files_reach_every_container_of_ours() -> None:
    extra = yaml.safe_load((ROOT / "docs" / "compose" / "secrets.yml").read_text("utf-8"))
    given = {
        name: service["environment"] for name, service in extra["services"].items() if name != "db"
    }

    assert sorted(given) == OURS
    for environment in given.values():
        assert {name.removesuffix("_FILE") for name in environment} <= variables_read()
        files = {path.removeprefix("/run/secrets/") for path in environment.values()}
        assert files <= set(extra["secrets"])


def test_what_is_not_always_wanted_is_in_a_profile() -> None:
    profiles = {
        name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service
    }
    assert profiles == {"proxy": ["proxy"], "backup": ["backup"]}


def test_every_volume_is_declared_and_every_mounted_file_is_there() -> None:
    mounts = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    for mount in mounts:
        source = mount.split(":")[0]
        assert (ROOT / source).is_file() if source.startswith(".") else source in COMPOSE["volumes"]


def test_the_proxy_leads_to_the_web_servers_port() -> None:
    caddy = (ROOT / "docs" / "proxy" / "Caddyfile").read_text("utf-8")

    assert "reverse_proxy web:8000" in caddy
    assert "{$SITE_URL}" in caddy
    assert "SITE_URL" in SERVICES["proxy"]["environment"]


def test_a_receipt_passes_every_proxy() -> None:
    for name in ("Caddyfile", "nginx.conf"):
        text = (ROOT / "docs" / "proxy" / name).read_text("utf-8")
        [limit] = re.findall(r"(?:max_size|client_max_body_size) (\d+)[mM]", text)
        assert int(limit) * 10**6 > MOST_BYTES + 100_000, name


def test_the_log_of_the_proxy_holds_no_query() -> None:
    """A customer's key may be in it."""
    text = (ROOT / "docs" / "proxy" / "nginx.conf").read_text("utf-8")
    [line] = re.findall(r"log_format panel (.*);", text)
    assert not re.search(r"\$(request|request_uri|args|query_string|arg_\w+)\b", line)
    assert text.count("access_log /var/log/nginx/panel.log panel;") == text.count("server {")


@pytest.mark.nginx
def test_nginx_takes_its_example(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=panel",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True, timeout=180,
    )  # fmt: skip
    site = (ROOT / "docs" / "proxy" / "nginx.conf").read_text("utf-8")
    folder = "/etc/letsencrypt/live/panel.example.com"
    site = site.replace(f"{folder}/fullchain.pem", str(certificate))
    site = site.replace(f"{folder}/privkey.pem", str(key))
    site = site.replace("/var/log/nginx/", f"{tmp_path}/")
    whole = tmp_path / "nginx.conf"
    whole.write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off;\n{site}\n}}"
    )

    tried = subprocess.run(
        ["nginx", "-t", "-q", "-c", str(whole), "-p", str(tmp_path)],
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip

    assert (tried.returncode, tried.stdout) == (0, ""), tried.stderr


def test_the_image_has_what_backups_are_made_with() -> None:
    assert "postgresql-client" in (ROOT / "Dockerfile").read_text("utf-8")
    assert "backups:/backups" in SERVICES["backup"]["volumes"]
    assert SERVICES["backup"]["environment"]["BACKUP_DIR"] == "/backups"


def unit_of(path: Path) -> dict[str, dict[str, str]]:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text("utf-8"))
    return {section: dict(parser[section]) for section in parser.sections()}


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_each_systemd_unit_runs_a_program_that_exists_without_rights(path: Path) -> None:
    unit = unit_of(path)
    service = unit["Service"]

    for name in ("ExecStart", "ExecStartPre"):
        if name not in service:
            continue
        program, *arguments = service[name].split()
        assert (Path(sys.executable).parent / Path(program).name).exists()
        if arguments[0] == "manage.py":
            assert arguments[1] in get_commands()
    assert service["User"] == "panel"
    assert service["ProtectSystem"] == "strict"
    if "Install" in unit:
        assert int(service["TimeoutStopSec"]) > settings.UPSTREAM_TOTAL_TIMEOUT


@pytest.mark.systemd
def test_systemd_itself_takes_the_units(tmp_path: Path) -> None:
    programs = tmp_path / "panel" / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "gunicorn", "celery"):
        (programs / name).symlink_to("/bin/true")
    names = sorted(path.name for path in (ROOT / "docs" / "systemd").iterdir())
    for name in names:
        text = (ROOT / "docs" / "systemd" / name).read_text("utf-8")
        (tmp_path / name).write_text(text.replace("/opt/panel", str(tmp_path / "panel")))

    judged = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names],
        cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip

    # Units of the machine itself are loaded too, and are none of our business.
    ours = [line for line in judged.stderr.splitlines() if "panel" in line]
    assert ours == []


@pytest.mark.parametrize("name", ["web", "worker", "beat"])
def test_systemd_and_compose_start_the_same(name: str) -> None:
    unit = unit_of(ROOT / "docs" / "systemd" / f"panel-{name}.service")
    command = [str(word) for word in SERVICES[name]["command"]]
    own = unit["Service"]["ExecStart"].split()
    aside = ("--bind", "--access-log", "--loglevel")

    assert Path(own[0]).name == command[0]
    assert [word for word in own[1:] if not word.startswith(aside)] == [
        word for word in command[1:] if not word.startswith(aside)
    ]


def test_no_line_of_the_web_servers_log_holds_a_customers_key() -> None:
    # In the default form the request's first line and the page it came from hold the whole address.
    forms = [
        word.partition("=")[2]
        for word in SERVICES["web"]["command"]
        if word.startswith("--access-logformat=")
    ]

    assert "--access-logfile=-" in SERVICES["web"]["command"]
    assert len(forms) == 1
    assert set(re.findall(r"%\((\w)\)s", forms[0])) == set("htmUsba")
    assert "--access-logfile" not in (ROOT / "Dockerfile").read_text("utf-8")


def test_the_dashboard_shows_only_figures_that_there_are() -> None:
    board = json.loads((ROOT / "docs" / "grafana" / "panel.json").read_text("utf-8"))
    used = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"\bpanel_\w+", target["expr"])
    }
    source = (ROOT / "panel" / "metrics.py").read_text("utf-8")
    patterns = re.findall(r'"(panel_[\w{}]+)"', source)
    known = [re.sub(r"\{\w+\}", r"\\w+", pattern) for pattern in patterns]

    assert len(used) > 12
    assert [name for name in used if not any(re.fullmatch(each, name) for each in known)] == []


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


@pytest.mark.parametrize("page", ["README.md", "SECURITY.md", "CONTRIBUTING.md"])
def test_links_and_make_targets_of_the_first_pages_exist(page: str) -> None:
    check_page(ROOT / page)


def test_each_decision_has_a_number_of_its_own() -> None:
    names = sorted(path.name for path in (ROOT / "docs" / "decisions").iterdir())
    numbers = [re.fullmatch(r"(\d\d)-[a-z-]+\.md", name) for name in names]

    assert len(names) > 20
    assert [name for name, number in zip(names, numbers, strict=True) if number is None] == []
    taken = Counter(number[1] for number in numbers if number)
    assert [number for number, times in taken.items() if times > 1] == []


@pytest.mark.parametrize(
    "page", sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/**/*.md"))
)
def test_a_decision_that_is_named_by_its_number_is_the_one_that_is_linked(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    named = re.findall(r"\[decision (\d+)\]\(decisions/(\d+)-", text)

    assert [says for says, leads in named if int(says) != int(leads)] == []


def test_every_line_of_the_security_page_names_tests_and_each_is_there() -> None:
    text = (ROOT / "SECURITY.md").read_text("utf-8")
    lines = re.findall(r"^\| ([A-Z][\w' ]+) \| [\d., ]+ \| (.*) \|$", text, re.MULTILINE)
    named = set(re.findall(r"`([\w/]+\.py)::(\w+)`", text))

    assert len(lines) == text.count("\n| ") - 1 >= 24
    assert [what for what, says in lines if "::test_" not in says] == []
    assert [
        f"{path}::{name}"
        for path, name in sorted(named)
        if f"\ndef {name}(" not in (ROOT / path).read_text("utf-8")
    ] == []


def check_page(page: Path) -> None:
    text = page.read_text("utf-8")
    for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", text):
        assert (page.parent / link).exists(), link
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)`", text)) <= targets
    for command in re.findall(r"manage\.py ([a-z_]+)", text):
        assert command in get_commands(), command
