"""What a chaos run does, as plain values: how long, how much, and which faults."""

import json
import signal
from dataclasses import dataclass
from typing import Any

KEY = "canary-key-of-chaos-5d1e"
# Each is an account of its own with IDs of its own, or nobody could tell whose a lost order is; and
# one open breaker does not stop all.
PROVIDERS = 4
SERVICES = json.dumps(
    [
        {
            "service": 1,
            "name": "Followers, fast",
            "type": "Default",
            "category": "Followers",
            "rate": "0.9",
            "min": "10",
            "max": "10000",
            "refill": True,
            "cancel": True,
        }
    ]
)

# What the provider does to `add`. Left out is only what makes the provider itself lie about a
# definite answer (another order's ID; a refusal although it placed): nobody can tell.
_ADD: list[dict[str, Any]] = [
    {"kind": "lost_before"},
    {"kind": "lost_before", "text": "rst"},
    {"kind": "lost_after"},
    {"kind": "lost_after", "text": "rst"},
    {"kind": "hang_before", "seconds": 5},
    {"kind": "hang_after", "seconds": 5},
    {"kind": "hang_after", "seconds": 1},
    {"kind": "late", "seconds": 10},
    {"kind": "http_500"},
    {"kind": "http_502", "when": "before"},
    {"kind": "http_504"},
    {"kind": "html_page"},
    {"kind": "cut_json"},
    {"kind": "cut_status_line"},
    {"kind": "short_body"},
    {"kind": "bad_chunk"},
    {"kind": "bad_gzip"},
    {"kind": "garbage"},
    {"kind": "drip_body"},
    {"kind": "drip_header"},
    {"kind": "redirect", "location": "http://127.0.0.1:9/elsewhere"},
    {"kind": "rate_limit"},
    {"kind": "empty_body"},
    {"kind": "double_body"},
    {"kind": "no_order_object"},
    {"kind": "json_string", "text": "ok"},
    {"kind": "both_error_and_order"},
    {"kind": "text_order_id"},
    {"kind": "zero_order_id"},
    {"kind": "error", "text": "Something went wrong, try again"},
    {"kind": "error", "text": "Something went wrong, try again", "when": "after"},
    {"kind": "error", "text": "Not enough funds on balance"},
    {"kind": "error", "text": "Invalid API key"},
    {"kind": "error", "text": "You have an active order with this link"},
    {"kind": "error", "text": "Invalid link"},
    {"kind": "status_error", "text": "Incorrect quantity"},
]
_STATUS: list[dict[str, Any]] = [
    {"kind": "lost_before"},
    {"kind": "hang_after", "seconds": 4},
    {"kind": "http_502"},
    {"kind": "html_page"},
    {"kind": "cut_json"},
    {"kind": "garbage"},
    {"kind": "rate_limit"},
    {"kind": "stale"},
    {"kind": "lost_ids"},
    {"kind": "no_remains"},
    {"kind": "numbers"},
]


def fault_plan(share: float) -> list[dict[str, Any]]:
    """Entries for the simulator, so that in all this share of the requests of each action is hit."""
    return [
        {"action": action, "times": None, "probability": share / len(entries), **entry}
        for action, entries in (("add", _ADD), ("status", _STATUS), ("balance", _STATUS[:7]))
        for entry in entries
    ]


@dataclass(frozen=True)
class Plan:
    """Length in seconds, chance's seed, orders per second, kills per minute, share of faults.

    `settle` are the seconds that the search for lost answers gets at the end. It goes on beyond its length until there are `orders` and `kills`.
    """

    seconds: float
    seed: int
    rate: float
    kills_per_minute: float
    faults: float
    orders: int = 0
    kills: int = 0
    settle: float = 0.0


# Whom it hits, how often in proportion.
TARGETS = {"worker": 60, "beat": 13, "web": 14, "redis": 10, "provider": 3}
EMBEDDED_TARGETS = {"serve": 94, "provider": 6}
SIGNALS = {signal.SIGKILL: 60, signal.SIGTERM: 22, signal.SIGSTOP: 18}
# Seconds of a halt; the longest outlive the leases of a claim and of a marked order.
HALTS = {0.5: 30, 2.0: 30, 6.0: 25, 25.0: 12, 70.0: 3}
