"""The roles of staff, as groups: made when they are missing, and the owner's kept complete."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.db.models import QuerySet

from wallet.models import Ceiling

APPS = ("accounts", "auth", "wallet", "catalog", "orders", "panel")
SUPPORT = "Support"
PRICING = "Pricing"
OWNER = "Owner"
DEFAULTS: dict[str, tuple[str, ...]] = {
    SUPPORT: (
        "accounts.view_user", "accounts.look_at_customer",
        "catalog.view_category", "catalog.view_service",
        "orders.view_order", "orders.view_request", "orders.ask_provider", "orders.refund_order",
        "orders.view_bulkrun", "orders.view_bulkrow", "orders.decide_refill",
        "wallet.view_account", "wallet.view_entry", "wallet.view_approval",
        "wallet.top_up_account", "wallet.view_topuprequest", "wallet.decide_topuprequest",
    ),
    PRICING: (
        "catalog.view_bulkchange",
        "catalog.add_customergroup", "catalog.change_customergroup",
        "catalog.delete_customergroup", "catalog.view_customergroup",
        "catalog.add_groupmember", "catalog.change_groupmember", "catalog.delete_groupmember",
        "catalog.view_groupmember",
        "catalog.add_customerprice", "catalog.change_customerprice",
        "catalog.delete_customerprice", "catalog.view_customerprice",
        "catalog.change_category", "catalog.view_category",
        "catalog.change_heldchange", "catalog.view_heldchange",
        "catalog.change_service", "catalog.view_service",
        "catalog.change_siterules", "catalog.view_siterules",
        "catalog.sync_provider", "catalog.view_provider", "catalog.view_syncrun",
    ),
}  # fmt: skip
CEILINGS = {"refund": Decimal(50), "top_up": Decimal(200)}


@dataclass(frozen=True)
class Roles:
    """What was done: groups that were made, and rights of new releases that owners got."""

    made: list[str]
    given: int

    def __str__(self) -> str:
        if not (self.made or self.given):
            return "Roles: Support, Pricing and Owner are there."
        made = f"made {', '.join(self.made)}" if self.made else "none made"
        return f"Roles: {made}, {self.given} rights given to Owner."


@transaction.atomic
def ensure_roles() -> Roles:
    """Make the groups that are missing, and give Owner whatever right it lacks.

    A group that is there keeps what it has: taking a right from Support is the operator's decision.
    """
    made = [name for name in (*DEFAULTS, OWNER) if _make(name)]
    owner = Group.objects.get(name=OWNER)
    lacking = _ours().exclude(group=owner)
    given = len(lacking)
    owner.permissions.add(*lacking)
    return Roles(made, given)


def _make(name: str) -> bool:
    group, is_new = Group.objects.get_or_create(name=name)
    if not is_new:
        return False
    group.permissions.add(*_named(DEFAULTS.get(name, ())))
    if name == SUPPORT:
        Ceiling.objects.get_or_create(group=group, defaults=CEILINGS)
    return True


def _ours() -> "QuerySet[Permission]":
    return Permission.objects.filter(content_type__app_label__in=APPS)


def _named(wanted: Iterable[str]) -> list[Permission]:
    known = {
        f"{each.content_type.app_label}.{each.codename}": each
        for each in _ours().select_related("content_type")
    }
    return [known[name] for name in wanted]
