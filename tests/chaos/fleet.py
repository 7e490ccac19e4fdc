"""The processes of a chaos run: started, killed, halted and started again by chance."""

import heapq
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TypeVar

from tests.chaos.plan import HALTS, SIGNALS
from tests.faults.nursery import Nursery
from tests.faults.servers import OwnRedis
from tests.processes import Process

T = TypeVar("T")

# Longer than docker-compose.yml's stop_grace_period.
_LEAVE_SECONDS = 75.0


def exists(pid: int) -> bool:
    """Whether the process runs (the nursery leaves no zombies)."""
    return Path(f"/proc/{pid}").exists()


@dataclass
class Member:
    """One process that has to be there, under the process ID it has now.

    `expected` while it was killed and is to come back.
    """

    name: str
    role: str
    command: list[str]
    pid: int = 0
    halted: bool = False
    starts: int = 0
    expected: bool = False


@dataclass
class Leaving:
    """A process that was told to end, and when it must have."""

    pid: int
    role: str
    until: float


@dataclass
class Fleet:
    """The members, what was done to them, and what is still to be done to them."""

    nursery: Nursery
    chance: random.Random
    members: list[Member]
    redis: OwnRedis | None
    providers: Sequence[Process]
    kills: Counter[str] = field(default_factory=Counter)
    halts: Counter[str] = field(default_factory=Counter)
    slow: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    _leaving: list[Leaving] = field(default_factory=list)
    _later: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _ticket: "count[int]" = field(default_factory=count)

    def start_all(self) -> None:
        for member in self.members:
            self.start(member)

    def start(self, member: Member) -> None:
        """Start it, or start it anew; a worker takes a new name each time."""
        member.expected = False
        if member.pid and exists(member.pid):
            return
        member.starts += 1
        member.halted = False
        name = f"{member.name}-{member.starts}"
        command = [*member.command, *(["-n", name] if member.role == "worker" else [])]
        member.pid = self.nursery.start(member.name, command)

    def hit(self, target: str) -> None:
        """Kill or halt one of this kind."""
        if target == "redis":
            self._hit_redis()
        elif target == "provider":
            provider = self.chance.choice(self.providers)
            provider.send(signal.SIGSTOP)
            self.halts["provider"] += 1
            self._after(self.chance.choice([0.5, 1.5]), lambda: provider.send(signal.SIGCONT))
        else:
            present = [each for each in self.members if each.role == target and exists(each.pid)]
            if present:
                self._hit_member(self.chance.choice(present))

    def _hit_redis(self) -> None:
        assert self.redis is not None
        how = self.chance.choice(["kill", "kill", "halt", "flush"])
        if how == "flush":
            self.halts["redis flushed"] += self.redis.forget_everything()
        elif how == "halt":
            self.redis.send(signal.SIGSTOP)
            self.halts["redis"] += 1
            self._after(self.chance.choice([1.0, 4.0]), self._thaw_redis)
        else:
            self.redis.kill()
            self.kills["redis SIGKILL"] += 1
            self._after(self.chance.uniform(0.0, 3.0), self._restart_redis)

    def _thaw_redis(self) -> None:
        assert self.redis is not None
        self.redis.send(signal.SIGCONT)

    def _restart_redis(self) -> None:
        assert self.redis is not None
        self.redis.start()

    def _hit_member(self, member: Member) -> None:
        how = _weighted(self.chance, SIGNALS)
        if member.halted:
            how = signal.SIGKILL
        if how == signal.SIGSTOP:
            self._halt(member)
            return
        self.kills[f"{member.role} {how.name}"] += 1
        pid = member.pid
        if how == signal.SIGTERM:
            _signal(pid, how)
            self._leaving.append(Leaving(pid, member.role, time.monotonic() + _LEAVE_SECONDS))
            member.pid = 0
        else:
            _signal_group(pid, how)
        member.expected = True
        self._after(self.chance.uniform(0.0, 1.5), lambda: self._come_back(member, pid))

    def _come_back(self, member: Member, killed: int) -> None:
        """Start it again, once the process that was killed is gone."""
        if member.pid not in (0, killed):
            return  # it is back already
        is_there = exists(killed) and member.pid == killed
        if is_there and not member.halted:
            # Killed when it was just forked, it had no group yet that a signal could reach.
            _signal_group(killed, signal.SIGKILL)
        if is_there or self._must_wait(member):
            self._after(0.2, lambda: self._come_back(member, killed))
        else:
            self.start(member)

    def _must_wait(self, member: Member) -> bool:
        """The port of a web server is free only when the one before it is gone."""
        return member.role in {"web", "serve"} and any(
            each.role == member.role and exists(each.pid) for each in self._leaving
        )

    def _halt(self, member: Member) -> None:
        pid, seconds = member.pid, _weighted(self.chance, HALTS)
        if member.role in {"web", "serve"}:
            seconds = min(seconds, 25.0)
        _signal_group(pid, signal.SIGSTOP)
        member.halted = True
        self.halts[member.role] += 1
        self._after(seconds, lambda: self._go_on(member, pid))

    def _go_on(self, member: Member, pid: int) -> None:
        if member.pid == pid and member.halted:
            _signal_group(pid, signal.SIGCONT)
            member.halted = False

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._ticket), act))

    def tend(self) -> None:
        """Do what has become due; end what was told to leave and has not."""
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()
        for each in list(self._leaving):
            if not exists(each.pid):
                self._leaving.remove(each)
            elif time.monotonic() > each.until:
                self.slow[each.role] += 1
                _signal_group(each.pid, signal.SIGKILL)
                self._leaving.remove(each)

    def restart_ended(self) -> None:
        """Start again what ended by itself; what was killed comes back by its own appointment."""
        for member in self.members:
            if not member.expected and not exists(member.pid):
                self.ended[member.role] += 1
                self.start(member)

    def heal(self) -> None:
        """Everything that is still to happen happens now, and every member runs."""
        while self._later:
            heapq.heappop(self._later)[2]()
            self.tend()
            time.sleep(0.05)
        self.keep_alive()

    def keep_alive(self) -> None:
        for member in self.members:
            if not exists(member.pid) and not self._must_wait(member):
                self.start(member)

    def end(self) -> Mapping[str, int]:
        """End all; how many of each role did not end by themselves in time."""
        for member in self.members:
            _signal_group(member.pid, signal.SIGCONT)
            _signal(member.pid, signal.SIGTERM)
            until = time.monotonic() + _LEAVE_SECONDS
            self._leaving.append(Leaving(member.pid, member.role, until))
        while self._leaving:
            self.tend()
            time.sleep(0.05)
        return self.slow


def _weighted(chance: random.Random, weights: Mapping[T, float]) -> T:
    [chosen] = chance.choices(list(weights), weights=list(weights.values()))
    return chosen


def _signal(pid: int, number: signal.Signals) -> None:
    # It may have ended by itself meanwhile.
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)


def members(commands: Mapping[str, Sequence[str]], workers: int) -> list[Member]:
    """One member of each role, and as many workers as wanted."""
    return [
        Member(name=f"{role}{number + 1}", role=role, command=list(command))
        for role, command in commands.items()
        for number in range(workers if role == "worker" else 1)
    ]
