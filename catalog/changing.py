"""Changes of many services: planned, shown row by row, then written exactly as shown, and undone."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from catalog import history
from catalog.bulk import update_rows
from catalog.history import Cause, plain
from catalog.models import BulkChange, Category, Provider, Service, SiteRules
from catalog.pricing import RATE_LIMIT, Price, Rule, rounded_up, site_cost, work_out
from catalog.services import forget_lists, reprice

# What a plan may set; everything else is the provider's, or follows from these.
FIELDS = (
    "pinned_rate", "markup_percent", "markup_fixed", "margin_min", "rounding_step", "is_sold",
    "category_id", "keeps_category",
)  # fmt: skip
Values = Mapping[str, Any]

_AT_ONCE = 5_000


class AlreadyDone(Exception):
    """The bulk change was applied or undone before, or never applied; nothing was written."""


class RuleBook:
    """Rules that many services share, each looked up once: the site's, and those of categories."""

    def __init__(self) -> None:
        self.site = SiteRules.current()
        self._categories: dict[int, Rule] = {}

    def category(self, service: Service, number: int) -> Rule:
        """The rule of the service's category, or of the one it is to be moved to."""
        if number == service.category_id:
            return service.category.rule
        if number not in self._categories:
            self._categories[number] = Category.objects.get(pk=number).rule
        return self._categories[number]


def price_of(service: Service, values: Values | None = None, book: RuleBook | None = None) -> Price:
    """How a service's price comes about, with some of its values replaced.

    Needs provider and category. The rules below the service's own are as they are stored; pass one
    `book` for many services.
    """
    rules = book or RuleBook()
    given = {**{name: getattr(service, name) for name in FIELDS}, **(values or {})}
    own = Rule(
        percent=given["markup_percent"], fixed=given["markup_fixed"], margin=given["margin_min"],
        step=given["rounding_step"],
    )  # fmt: skip
    category = rules.category(service, given["category_id"])
    return work_out(
        cost_rate=service.cost_rate,
        exchange_rate=service.provider.exchange_rate,
        rules=(own, category, service.provider.rule, rules.site),
        pinned=given["pinned_rate"],
    )


# The operations of the service list: each makes a service's new values from what was typed.
Operation = Callable[[Service, Decimal | None], dict[str, Any]]

OPERATIONS: dict[str, Operation] = {
    "markup": lambda _service, number: {"markup_percent": number},
    "fixed": lambda _service, number: {"markup_fixed": number},
    "margin": lambda _service, number: {"margin_min": number},
    "step": lambda _service, number: {"rounding_step": number},
    "pin": lambda service, number: {"pinned_rate": service.price_rate if number is None else number},
    "unpin": lambda _service, _number: {"pinned_rate": None},
    "raise": lambda service, number: {"pinned_rate": _moved(service.price_rate, number)},
    "round": lambda service, number: {"pinned_rate": rounded_up(service.price_rate, number)},
    "sell": lambda _service, _number: {"is_sold": True},
    "stop": lambda _service, _number: {"is_sold": False},
    "move": lambda _service, number: {
        "category_id": int(number or 0), "keeps_category": True,
    },
}  # fmt: skip


def _moved(rate: Decimal, percent: Decimal | None) -> Decimal:
    return rounded_up(rate * (100 + (percent or Decimal(0))) / 100, None)


def plan(
    title: str, edits: Iterable[tuple[Service, Values]], actor: User, problems: Sequence[Any] = ()
) -> BulkChange:
    """Write down what these edits would do, and nothing else; problems are for people to read."""
    rows, found, book = [], list(problems), RuleBook()
    for service, values in edits:
        fields = history.differences({name: getattr(service, name) for name in values}, values)
        if not fields:
            continue
        problem = refusal(service, values)
        if problem:
            found.append([str(service), problem])
            continue
        price = price_of(service, values, book).rate if service.cost_rate else service.price_rate
        rows.append([service.pk, service.title, fields, plain(service.price_rate), plain(price)])
    return BulkChange.objects.create(title=title[:200], rows=rows, problems=found, actor=actor)


def refusal(service: Service, values: Values) -> str:
    """Why a service can't have these values; empty when it can."""
    for name, value in values.items():
        if isinstance(value, Decimal) and not 0 <= value <= RATE_LIMIT:
            return _("%(value)s is out of range.") % {"value": f"{value:f}"}
        if name == "margin_min" and value is not None and value > 99:
            return _("A minimum margin is at most 99 %.")
    pinned = values.get("pinned_rate")
    if pinned is not None:
        cost = site_cost(service.cost_rate, service.provider.exchange_rate)
        if pinned <= 0 or pinned < cost:
            return _("A pinned price can't be below the cost of %(cost)s.") % {"cost": plain(cost)}
    return ""


def apply(bulk_id: int, actor: User) -> BulkChange:
    """Write a planned change: each row exactly as shown, or not at all and why.

    Raises AlreadyDone for one that was applied before.
    """
    with transaction.atomic():
        bulk = BulkChange.objects.select_for_update(no_key=True).get(pk=bulk_id)
        if bulk.applied_at is not None:
            raise AlreadyDone
        services = _locked([row[0] for row in bulk.rows])
        chosen, skipped, book = [], [], RuleBook()
        for row in bulk.rows:
            service = services.get(row[0])
            problem = _obstacle(service, row, book)
            if service is None or problem:
                skipped.append([row[1], problem])
            else:
                chosen.append((service, row))
        _write(chosen, Cause(actor=actor, bulk=bulk))
        bulk.problems = [*bulk.problems, *skipped]
        bulk.rows = [row for _service, row in chosen]
        bulk.applied_at = timezone.now()
        bulk.save(update_fields=["problems", "rows", "applied_at"])
        return bulk


def _locked(numbers: Sequence[int]) -> dict[int, Service]:
    chosen = [Service.objects.filter(pk__in=some) for some in _chunks(numbers)]
    providers = {pk for some in chosen for pk in some.order_by().values_list("provider", flat=True)}
    # In one order, like everybody who changes prices, and before any service is read.
    list(Provider.objects.select_for_update(no_key=True).filter(pk__in=providers).order_by("pk"))
    rows = (each for some in chosen for each in chosen_services(some))
    return {service.pk: service for service in rows}


def _chunks(numbers: Iterable[int]) -> Iterator[list[int]]:
    """A few thousand at a time: a statement takes only so many parameters."""
    remaining = iter(numbers)
    while chunk := list(islice(remaining, _AT_ONCE)):
        yield chunk


def _obstacle(service: Service | None, row: Sequence[Any], book: RuleBook) -> str:
    if service is None:
        return _("The service is gone.")
    _pk, _title, fields, _before, price = row
    if any(plain(getattr(service, name)) != pair[0] for name, pair in fields.items()):
        return _("Somebody has changed it since the preview.")
    after = _typed(fields, 1)
    if service.cost_rate and plain(price_of(service, after, book).rate) != price:
        return _("Its price would be another one than in the preview.")
    return refusal(service, after)


def _typed(fields: history.Fields, at: int) -> dict[str, Any]:
    """Values of the history's form as the columns take them."""
    columns: dict[str, Any] = {each.attname: each for each in Service._meta.concrete_fields}
    return {
        name: pair[at] if name.endswith("_id") else columns[name].to_python(pair[at])
        for name, pair in fields.items()
    }


def _write(chosen: Sequence[tuple[Service, Sequence[Any]]], cause: Cause, at: int = 1) -> None:
    now = timezone.now()
    kinds: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
    for service, row in chosen:
        values = _typed(row[2], at)
        kinds.setdefault(tuple(values), []).append((service.pk, *values.values(), now))
    for names, rows in kinds.items():
        update_rows(Service, [*names, "changed_at"], rows)
    history.write(
        [
            (service.pk, row[2] if at else {name: pair[::-1] for name, pair in row[2].items()})
            for service, row in chosen
        ],
        cause,
        at=now,
    )
    needs_lists = any("keeps_category" in names for names in kinds)
    for some in _chunks(service.pk for service, _row in chosen):
        changed = Service.objects.filter(pk__in=some)
        reprice(changed, cause)
        if needs_lists:
            forget_lists(changed)


@transaction.atomic
def undo(bulk_id: int, actor: User) -> int:
    """Give every row the values it had before, save what was changed again since; how many.

    Raises AlreadyDone unless it is applied and not undone.
    """
    bulk = BulkChange.objects.select_for_update(no_key=True).get(pk=bulk_id)
    if bulk.applied_at is None or bulk.undone_at is not None:
        raise AlreadyDone
    services = _locked([row[0] for row in bulk.rows])
    chosen = []
    for row in bulk.rows:
        service = services.get(row[0])
        if service and all(
            plain(getattr(service, name)) == pair[1] for name, pair in row[2].items()
        ):
            chosen.append((service, row))
    _write(chosen, Cause(actor=actor, bulk=bulk), at=0)
    bulk.undone_at = timezone.now()
    bulk.save(update_fields=["undone_at"])
    return len(chosen)


def chosen_services(services: QuerySet[Service]) -> QuerySet[Service]:
    """These services with what a plan needs of them."""
    return services.select_related("category", "provider").defer("provider__api_key")


def services_by_number(numbers: Iterable[int]) -> Iterator[Service]:
    """The services of these IDs with what a plan needs of them; unknown IDs have none."""
    for some in _chunks(numbers):
        yield from chosen_services(Service.objects.filter(pk__in=some).order_by("pk"))
