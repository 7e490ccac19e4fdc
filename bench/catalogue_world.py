"""Price lists like those of real panels, a provider that sends them, and a catalogue of any size."""

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from catalog.models import Provider, Service
from catalog.sync import sync_provider
from catalog.tests.panel import Panel, listening

_PLATFORMS = ("Instagram", "TikTok", "YouTube", "Telegram", "Facebook", "Twitter", "Spotify")
_THINGS = ("Followers", "Likes", "Views", "Comments", "Shares", "Subscribers", "Saves")
_EXTRAS = ("Instant", "Non Drop", "HQ", "Real", "Max 100K", "No Refill", "Fast Start")
# As many per service as in the real lists of catalog/tests/data.
_SERVICES_PER_CATEGORY = 10


def rows(count: int) -> list[dict[str, Any]]:
    """A list of so many services, the same at every run.

    Names are as long as real ones (about 68 letters), and half of the rates occur but once.
    """
    chance = random.Random(7)
    return [_row(number, chance) for number in range(1, count + 1)]


def _row(number: int, chance: random.Random) -> dict[str, Any]:
    # Real lists stand together by category; the same category comes back now and then.
    group = number // _SERVICES_PER_CATEGORY % 300
    platform, thing = _PLATFORMS[group % 7], _THINGS[group // 7 % 7]
    extras = " | ".join(chance.sample(_EXTRAS, 3))
    return {
        "service": number,
        "name": f"{platform} {thing} [{number}] | {extras} | {chance.randint(1, 99)}K/Day ⚡🔥",
        "type": chance.choices(("Default", "Package", "Custom Comments"), (95, 3, 2))[0],
        "category": f"{platform} {thing} ♻️ group {group}",
        "rate": f"{chance.lognormvariate(0, 2) + 0.01:.{chance.choice((2, 3, 4))}f}",
        "min": str(chance.choice((1, 5, 10, 20, 50, 100, 500, 1000))),
        "max": str(chance.choice((1000, 5000, 10_000, 50_000, 100_000, 1_000_000))),
        "refill": chance.random() < 0.4,
        "cancel": chance.random() < 0.3,
        "dripfeed": chance.random() < 0.2,
    }


def body_of(listed: Sequence[dict[str, Any]]) -> bytes:
    """The answer that lists these, as PHP panels write it: with letters as they are."""
    return json.dumps(listed, ensure_ascii=False, separators=(",", ":")).encode()


@contextmanager
def provider(name: str = "Panel") -> Iterator[tuple[Provider, Panel]]:
    """A provider, and the server that answers for it with whatever bytes it is given."""
    with listening() as panel:
        yield Provider.objects.create(name=name, url=panel.url, api_key="bench"), panel


def of_three_platforms(listed: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The first so many that are for one of three platforms: few, and still a page for each."""
    return [row for row in listed if row["name"].startswith(_PLATFORMS[:3])][:count]


def fill(listed: Sequence[dict[str, Any]]) -> None:
    """Have these services in the catalogue, by a sync of the provider `Stock`."""
    with listening() as panel:
        panel.answers(body_of(listed))
        made, _ = Provider.objects.update_or_create(
            name="Stock", defaults={"url": panel.url, "api_key": "bench"}
        )
        sync_provider(made)
    assert Service.objects.count() == len(listed)
