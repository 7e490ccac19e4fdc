"""Changes of a provider's list that wait for a person: held by a sync, accepted or ignored by staff.

While one waits the service is not sold and keeps what was stored. Its cost as listed now is noted
besides, so that orders on their way are judged by what they would really cost.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.models import User
from catalog import history
from catalog.bulk import insert_rows, update_rows
from catalog.compare import Change, Known, digest, offer
from catalog.history import Cause
from catalog.models import HeldChange, Provider, Service, SyncRun
from catalog.rows import Facts
from catalog.stored import FACT_COLUMNS, add_categories, read_stored, terms_of

_State = HeldChange.State


def hold(held: Sequence[Change], run: SyncRun) -> None:
    """Set these changes aside and take their services off sale, instead of what was held before."""
    if not held:
        return
    before = drop_outdated(held)
    now = timezone.now()
    rows = [(change, change.known) for change in held if change.known is not None]
    update_rows(
        Service,
        ["is_held", "set_aside", "listed_cost_rate", "changed_at"],
        (
            (known.pk, True, digest(change.facts), change.facts.cost_rate, now)
            for change, known in rows
        ),
    )
    columns = ["service_id", "run_id", "reasons", "fields", "was_held", "facts", "found_at"]
    insert_rows(
        HeldChange,
        columns,
        [
            (known.pk, run.pk, list(change.reasons), history.fields_of(change),
             before.get(known.pk, known.is_held), _packed(change.facts), now)
            for change, known in rows
        ],
    )  # fmt: skip


def drop_outdated(found: Iterable[Change]) -> dict[int, bool]:
    """Forget what was held or ignored of these services: the list says something else now.

    Returns which of them are held for other reasons, by ID.
    """
    aside = {known.pk: known for change in found if (known := change.known) and known.set_aside}
    if not aside:
        return {}
    waiting = HeldChange.objects.filter(service__in=aside, state=_State.OPEN)
    was_held = dict(waiting.values_list("service_id", "was_held"))
    now = timezone.now()
    waiting.update(state=_State.OUTDATED, decided_at=now)
    held = {pk: _still_held(known, was_held.get(pk)) for pk, known in aside.items()}
    update_rows(
        Service,
        ["is_held", "set_aside", "listed_cost_rate", "changed_at"],
        [(pk, is_held, "", None, now) for pk, is_held in held.items()],
    )
    return held


def _still_held(known: Known, was_held: bool | None) -> bool:
    # None: nothing of it was waiting, so whoever holds the service now has another reason; and
    # what came back waits for someone in any case.
    if was_held is None or not known.is_present:
        return known.is_held or not known.is_present
    return was_held


def _packed(facts: Facts) -> list[Any]:
    return [str(value) if isinstance(value, Decimal) else value for value in facts]


def _unpacked(values: Sequence[Any]) -> Facts:
    facts = Facts(*values)
    return facts._replace(cost_rate=Decimal(facts.cost_rate))


def accept(changes: Iterable[int], actor: User) -> int:
    """Take over held changes by ID as the list has them; returns how many still waited."""
    return _decide(changes, actor, _accept)


def ignore(changes: Iterable[int], actor: User) -> int:
    """Keep what is stored, and hold the same listed row no more; returns how many still waited.

    The cost as listed stays noted: what would be sold at a loss is not sold all the same.
    """
    return _decide(changes, actor, _ignore)


def _decide(chosen: Iterable[int], actor: User, do: Any) -> int:
    wanted = HeldChange.objects.filter(pk__in=list(chosen), state=_State.OPEN)
    providers = sorted(set(wanted.order_by().values_list("service__provider_id", flat=True)))
    return sum(_decide_at(provider_id, list(chosen), actor, do) for provider_id in providers)


@transaction.atomic
def _decide_at(provider_id: int, chosen: list[int], actor: User, do: Any) -> int:
    # The provider's row is what syncs and repricing hold too.
    provider = Provider.objects.locked(provider_id)
    waiting = HeldChange.objects.select_for_update(no_key=True, of=("self",)).filter(
        pk__in=chosen, state=_State.OPEN, service__provider=provider
    )
    rows = list(waiting)
    do(provider, rows, actor)
    return len(rows)


def _close(rows: Sequence[HeldChange], state: str, actor: User) -> None:
    HeldChange.objects.filter(pk__in=[row.pk for row in rows]).update(
        state=state, decided_at=timezone.now(), decided_by=actor
    )


def _ignore(provider: Provider, rows: Sequence[HeldChange], actor: User) -> None:  # noqa: ARG001 - one of two of its kind
    _close(rows, _State.IGNORED, actor)
    now = timezone.now()
    update_rows(
        Service, ["is_held", "changed_at"], [(row.service_id, row.was_held, now) for row in rows]
    )
    _note_released(rows, actor)


def _note_released(rows: Sequence[HeldChange], actor: User) -> None:
    history.write(
        [(row.service_id, {"is_held": [True, False]}) for row in rows if not row.was_held],
        Cause(actor=actor),
    )


def _accept(provider: Provider, rows: Sequence[HeldChange], actor: User) -> None:
    _close(rows, _State.ACCEPTED, actor)
    terms = terms_of(provider)
    chosen = Service.objects.filter(pk__in=[row.service_id for row in rows])
    stored = read_stored(provider.pk, chosen)
    listed = {row.service_id: row for row in rows}
    facts = {pk: _unpacked(row.facts) for pk, row in listed.items()}
    add_categories(stored, {each.category for each in facts.values()})
    found = []
    for upstream_id, known in stored.services.items():
        wanted = facts[known.pk]
        if known.keeps_category:
            # Somebody may have moved it while the change waited.
            wanted = wanted._replace(category=known.facts.category)
        final, price = offer(wanted, terms, stored.category_rule(wanted.category), known)
        found.append(Change(upstream_id, final, price, known, position=0))
    _write(found, listed, {name: each.pk for name, each in stored.categories.items()})
    history.write(
        [(each.known.pk, history.fields_of(each)) for each in found if each.known],
        Cause(actor=actor),
    )


def _write(
    found: Iterable[Change], listed: dict[int, HeldChange], categories: dict[str, int]
) -> None:
    now = timezone.now()
    columns = ["category_id", *FACT_COLUMNS, "price_rate", "is_held", "set_aside"]
    update_rows(
        Service,
        [*columns, "listed_cost_rate", "changed_at"],
        [
            (
                each.known.pk, categories[each.facts.category], *each.facts[1:], each.price_rate,
                listed[each.known.pk].was_held, "", None, now,
            )
            for each in found
            if each.known is not None
        ],
    )  # fmt: skip
