"""A World that answers the provider's API document with the document's own examples."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from upstream.simulator.settings import Settings
from upstream.simulator.world import World

KEY = "document-key"
_NOT_OURS = {"error": "Incorrect order ID"}

SERVICES: list[dict[str, Any]] = [
    {
        "service": 1,
        "name": "Followers",
        "type": "Default",
        "category": "First Category",
        "rate": "0.90",
        "min": "50",
        "max": "10000",
        "refill": True,
        "cancel": True,
    },
    {
        "service": 2,
        "name": "Comments",
        "type": "Custom Comments",
        "category": "Second Category",
        "rate": "8",
        "min": "10",
        "max": "1500",
        "refill": False,
        "cancel": True,
    },
]
_PARTIAL = {
    "charge": "0.27819",
    "start_count": "3572",
    "status": "Partial",
    "remains": "157",
    "currency": "USD",
}
_RUNNING = {
    "charge": "1.44219",
    "start_count": "234",
    "status": "In progress",
    "remains": "10",
    "currency": "USD",
}

EXAMPLES: list[tuple[dict[str, str], Any]] = [
    ({"action": "services"}, SERVICES),
    ({"action": "status", "order": "1"}, _PARTIAL),
    ({"action": "status", "orders": "1,10,100"}, {"1": _PARTIAL, "10": _NOT_OURS, "100": _RUNNING}),
    ({"action": "refill", "order": "1"}, {"refill": "1"}),
    (
        {"action": "refill", "orders": "1,2,3"},
        [
            {"order": 1, "refill": 1},
            {"order": 2, "refill": 2},
            {"order": 3, "refill": _NOT_OURS},
        ],
    ),
    ({"action": "refill_status", "refill": "1"}, {"status": "Completed"}),
    (
        {"action": "refill_status", "refills": "1,2,3"},
        [
            {"refill": 1, "status": "Completed"},
            {"refill": 2, "status": "Rejected"},
            {"refill": 3, "status": {"error": "Refill not found"}},
        ],
    ),
    (
        {"action": "cancel", "orders": "9,2"},
        [{"order": 9, "cancel": _NOT_OURS}, {"order": 2, "cancel": 1}],
    ),
    ({"action": "balance"}, {"balance": "100.84292", "currency": "USD"}),
]
"""Each call of the document but `add`, without the key, and its example answer."""


def document_world() -> World:
    """A World of the document: its examples are answered as printed, any number of times.

    The first order placed with `add` gets the document's ID 23501; what is not in the document
    is answered as by any World.
    """
    world = World(
        SERVICES,
        key=KEY,
        balance=Decimal("100.84292"),
        settings=Settings(),
        first_id=23501,
    )
    for fields, answer in EXAMPLES:
        # The document's answers come from different moments, so no one state gives them all.
        world.scripted[tuple(sorted(fields.items()))] = answer
    return world
