"""The catalogue in the admin: providers, categories, and the pages on which prices are made."""

from catalog.admin import bulk, categories, held, links, rules, services, syncing
from catalog.admin.providers import UPSTREAM_REFUSALS, ProviderAdmin
from catalog.admin.syncing import KINDS

__all__ = [
    "KINDS",
    "UPSTREAM_REFUSALS",
    "ProviderAdmin",
    "bulk",
    "categories",
    "held",
    "links",
    "rules",
    "services",
    "syncing",
]
