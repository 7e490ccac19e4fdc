"""The look-up of weaknesses tells "nothing known", "known" and "not checked" apart."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests import advisories
from tests.advisories import Verdict, judge, look_up

WEAK = {"vulns": [{"id": "PYSEC-1", "summary": "It leaks.", "affected": [{
    "package": {"name": "leaky", "ecosystem": "PyPI"},
    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}],
    "versions": ["1.0"],
}]}]}  # fmt: skip


class Advisories:
    """A server of advisories: how it answers, and what it was asked for."""

    def __init__(self) -> None:
        self.url, self.status, self.delay = "", 200, 0.0
        self.asked: list[str] = []


@pytest.fixture
def server() -> Iterator[Advisories]:
    kept = Advisories()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = body["package"]["name"]
            kept.asked.append(name)
            time.sleep(kept.delay)
            answer = json.dumps(WEAK if name == "leaky" else {}).encode()
            self.send_response(kept.status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    kept.url = f"http://127.0.0.1:{listening.server_port}/"
    yield kept
    listening.shutdown()
    thread.join()
    listening.server_close()


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.txt"
    path.write_text("sound==2.0 --hash=sha256:" + "0" * 64 + "\n")
    return path


def test_nothing_known_is_green_and_a_weakness_fails(server: Advisories, packages: Path) -> None:
    assert look_up([packages], "--osv-url", server.url) == Verdict(
        "No known weakness in 1 packages.", 0
    )

    with packages.open("a") as file:
        file.write("leaky==1.0 --hash=sha256:" + "0" * 64 + "\n")
    assert look_up([packages], "--osv-url", server.url) == Verdict(
        "Known weaknesses:\nleaky 1.0: PYSEC-1 (fixed in 1.1)", 1
    )
    assert server.asked == ["sound", "sound", "leaky"]


def test_without_data_it_says_so_and_goes_on(server: Advisories, packages: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    server.status = 503
    for url in (nobody, server.url):
        verdict = look_up([packages], "--osv-url", url)
        assert verdict.code == 0
        assert "NOT checked" in verdict.text


def test_a_server_that_is_silent_does_not_hold_up_the_checks(
    server: Advisories, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.delay = 5
    monkeypatch.setattr(advisories, "_SECONDS_PER_ANSWER", 1)

    verdict = look_up([packages], "--osv-url", server.url)

    assert (verdict.code, "NOT checked" in verdict.text) == (0, True)


@pytest.mark.parametrize(
    ("said", "log", "code", "word"),
    [
        # What pip-audit prints beside "No known vulnerabilities found" when an index is a mirror.
        (
            '{"dependencies": [{"name": "a", "skip_reason": "not found"}], "fixes": []}',
            "",
            0,
            "NOT",
        ),
        ('{"dependencies": [], "fixes": []}', "", 0, "NOT checked"),
        ("", "ERROR: invalid requirement", 1, "pip-audit failed"),
        ("", "requests.exceptions.ConnectionError: HTTPSConnectionPool", 0, "NOT checked"),
    ],
)
def test_what_is_not_an_answer_is_never_called_one(
    said: str, log: str, code: int, word: str
) -> None:
    verdict = judge(said, log)
    assert (verdict.code, word in verdict.text) == (code, True)
