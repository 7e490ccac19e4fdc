"""Looks the pinned packages up among the published weaknesses: `python -m tests.advisories`.

Fails when a package has a known weakness. Without the advisory data (no network, their server away)
nothing can be said; that is printed in so many words and is no failure, so that the checks can be
run on a train. What is asked is OSV: the package index itself, where it is a mirror without
advisories, would answer "nothing known" to everything.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LISTS = [ROOT / "requirements.txt", ROOT / "requirements-dev.txt"]
_SECONDS_PER_ANSWER = 10
_SECONDS = 300
# How pip-audit's own log and tracebacks say that the data could not be had.
_AWAY = ("ConnectionError", "ConnectTimeout", "ReadTimeout", "ServiceError", "HTTPError")


@dataclass(frozen=True)
class Verdict:
    """What to print, and the exit code."""

    text: str
    code: int


def look_up(lists: Sequence[Path], *options: str) -> Verdict:
    """Ask about every package of these lists; `options` go to pip-audit as they are."""
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", "osv", "--disable-pip"]
    command += ["--progress-spinner", "off", "--format", "json"]
    command += ["--timeout", str(_SECONDS_PER_ANSWER), *options]
    command += [word for path in lists for word in ("--requirement", str(path))]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return _not_checked(f"no answer within {_SECONDS} seconds")
    return judge(done.stdout, done.stderr)


def judge(said: str, log: str) -> Verdict:
    """What pip-audit's JSON and log mean."""
    try:
        packages: list[dict[str, Any]] = json.loads(said)["dependencies"]
    except (ValueError, KeyError, TypeError):
        if any(word in log for word in _AWAY):
            # The first words say what, the rest is addresses.
            return _not_checked(log.strip().splitlines()[-1].partition(": ")[0])
        return Verdict(f"pip-audit failed:\n{log.strip()[-2000:]}", 1)
    weak = [
        f"{each['name']} {each['version']}: {found['id']}"
        f" (fixed in {', '.join(found['fix_versions']) or 'no release yet'})"
        for each in packages
        for found in each.get("vulns", [])
    ]
    if weak:
        return Verdict("\n".join(["Known weaknesses:", *weak]), 1)
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    if skipped or not packages:
        return _not_checked(f"nothing is known of {', '.join(skipped) or 'any package'}")
    return Verdict(f"No known weakness in {len(packages)} packages.", 0)


def _not_checked(why: str) -> Verdict:
    return Verdict(f"WARNING: packages were NOT checked for known weaknesses: {why}", 0)


def main() -> int:
    """Print the verdict; its code."""
    verdict = look_up(LISTS, *sys.argv[1:])
    sys.stdout.write(f"{verdict.text}\n")
    return verdict.code


if __name__ == "__main__":
    sys.exit(main())
