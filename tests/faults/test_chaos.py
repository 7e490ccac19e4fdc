"""F26: a short run of chaos; the long one is `make chaos`."""

import re
import subprocess

import pytest

from tests.processes import PYTHON, ROOT, clean_environment


def chaos(*arguments: str) -> str:
    """Run it to its end; what it said, or the failure."""
    run = subprocess.run(
        [PYTHON, "-m", "tests.chaos", *arguments],
        cwd=ROOT,
        env=clean_environment({}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    return run.stdout


def figure(said: str, name: str) -> int:
    [value] = re.findall(rf"^  {name}: (\d+)", said, re.MULTILINE)
    return int(value)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "engine",
    [
        pytest.param("--sqlite", marks=pytest.mark.sqlite),
        pytest.param("", marks=[pytest.mark.postgres, pytest.mark.redis]),
    ],
)
def test_killing_everything_under_faults_duplicates_and_loses_nothing(engine: str) -> None:
    arguments = ["--seconds", "20", "--seed", "7", "--rate", "5", "--kills", "40", "--settle", "0"]

    said = chaos(*arguments, *filter(None, [engine]))

    assert figure(said, "seed") == 7
    assert figure(said, "orders") > 20
    assert figure(said, "kills") > 2
    assert figure(said, "duplicates") == 0
    assert figure(said, "lost") == 0
    assert said.rstrip().endswith("chaos: everything adds up")
