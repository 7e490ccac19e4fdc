"""A provider of a few lines, which answers every request with the bytes that a test gives it."""

import gzip
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

DATA = Path(__file__).with_name("data")
SAMPLES = sorted(path.name.removesuffix(".json.gz") for path in DATA.glob("*.json.gz"))


class Panel:
    """What it answers, and which actions it was asked for."""

    def __init__(self) -> None:
        self.url = ""
        self.body = b"[]"
        self.status = 200
        self.asked: list[str] = []
        # Set, it keeps every answer back until so many requests are here.
        self.barrier: threading.Barrier | None = None

    def lists(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Answer with these rows from now on."""
        self.body, self.status = json.dumps(list(rows)).encode(), 200

    def answers(self, body: bytes, status: int = 200) -> None:
        self.body, self.status = body, status


def sample(name: str) -> bytes:
    """A real panel's answer, byte for byte."""
    return gzip.decompress((DATA / f"{name}.json.gz").read_bytes())


def row(service: int | str, **changed: Any) -> dict[str, Any]:
    """A usable row: rate 1, from 10 to 1,000."""
    usual = {
        "service": service,
        "name": f"Followers {service}",
        "type": "Default",
        "category": "Followers",
        "rate": "1.00",
        "min": "10",
        "max": "1000",
        "refill": True,
        "cancel": False,
        "dripfeed": True,
    }
    return usual | changed


@contextmanager
def listening() -> Iterator[Panel]:
    panel = Panel()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            panel.asked.append(form["action"][0])
            if panel.barrier:
                panel.barrier.wait(timeout=60)
            self.send_response(panel.status)
            self.send_header("Content-Length", str(len(panel.body)))
            self.end_headers()
            self.wfile.write(panel.body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    panel.url = f"http://127.0.0.1:{server.server_port}/api/v2"
    try:
        yield panel
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
