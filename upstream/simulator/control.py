"""Control over HTTP: the paths below /sim, JSON in and JSON out."""

from __future__ import annotations

import dataclasses
import json
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import parse_qs

from upstream.simulator.answers import error
from upstream.simulator.wire import Request
from upstream.simulator.world import World

PREFIX = "/sim/"
_SHOWN = {"status", "remains", "charge", "start_count"}


class Misused(Exception):
    """A control request that asks for nothing this server knows; the message says why."""


def control(world: World, request: Request) -> tuple[int, dict[str, Any]]:
    """Carry out one control request: HTTP status and JSON object."""
    try:
        return 200, _carry_out(world, request)
    except LookupError as missing:
        return 404, error(f"not found: {missing}")
    except (Misused, ValueError, TypeError, InvalidOperation) as wrong:
        return 400, error(str(wrong))


def _carry_out(world: World, request: Request) -> dict[str, Any]:
    name, _, rest = request.path.removeprefix(PREFIX).partition("/")
    if request.method == "GET":
        return _look(world, name, request)
    if request.method != "POST":
        raise Misused("GET or POST")
    asked = json.loads(request.body or b"{}", parse_float=Decimal)
    if not isinstance(asked, dict):
        raise Misused("a JSON object, please")
    return _change(world, name, rest, asked)


def _look(world: World, name: str, request: Request) -> dict[str, Any]:
    if name == "truth":
        return world.truth(parse_qs(request.query).get("link", [""])[0])
    if name == "faults":
        with world.lock:
            return {"faults": [dataclasses.asdict(each) for each in world.faults.entries()]}
    if name == "settings":
        return dataclasses.asdict(world.settings)
    raise LookupError(request.path)


def _change(world: World, name: str, rest: str, asked: dict[str, Any]) -> dict[str, Any]:
    if name == "faults":
        _change_faults(world, asked)
    elif name == "settings":
        _change_settings(world, asked)
    elif name == "advance":
        world.advance(float(asked.get("seconds", 0)))
    elif name == "neighbours":
        world.others_order(int(asked.get("count", 1)))
    elif name == "orders" and rest:
        _force(world, rest, asked)
    elif name == "orders":
        asked = {each: str(value) for each, value in asked.items()}
        return {"order": world.place_by_hand(asked.pop("service", ""), **asked)}
    else:
        raise LookupError(PREFIX + name)
    return {"ok": True}


def _change_faults(world: World, asked: dict[str, Any]) -> None:
    if asked.pop("clear", False):
        world.heal()
    if asked:
        plain = {name: _number(value) for name, value in asked.items()}
        world.break_with(plain.pop("action", "*"), plain.pop("kind", ""), **plain)


def _change_settings(world: World, asked: dict[str, Any]) -> None:
    balance, services = asked.pop("balance", None), asked.pop("services", None)
    weights = asked.get("weights")
    if isinstance(weights, dict):
        asked["weights"] = {name: _number(value) for name, value in weights.items()}
    world.change(**{name: _number(value) for name, value in asked.items()})
    if services is not None:
        world.sell(services)
    if balance is not None:
        world.set_balance(Decimal(str(balance)))


def _force(world: World, order_id: str, asked: dict[str, Any]) -> None:
    if asked.pop("clear", False):
        world.force(order_id)
        return
    unknown = set(asked) - _SHOWN
    if unknown or not asked:
        raise Misused(f"one or more of {', '.join(sorted(_SHOWN))}")
    world.force(order_id, **asked)


def _number(value: Any) -> Any:
    """Settings and faults measure time and chance, which are floats; money never comes here."""
    return float(value) if isinstance(value, Decimal) else value
