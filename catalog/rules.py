"""What the operator refuses in orders: hosts, words and patterns, each with a message."""

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from django.utils.translation import gettext as _

from catalog.models import LinkRule
from catalog.platforms import belongs, host_of
from wallet.prepared import Instances

LINK_FIELDS = ("link", "media", "referring_url", "username")


@dataclass(frozen=True)
class Rules:
    """The rules as they were when they were read."""

    rows: tuple[LinkRule, ...]

    def refusal(self, values: Mapping[str, str]) -> tuple[str, str] | None:
        """The field and the message of the first rule that refuses these parameters."""
        for name, value in values.items():
            for rule in self.rows:
                if refuses(rule, name, value):
                    return name, rule.message or _("This is not accepted here.")
        return None


NO_RULES = Rules(())


def read_rules() -> Rules:
    """The rules that are switched on, in one statement."""
    return Rules(tuple(_switched_on()))


_switched_on = Instances(lambda: LinkRule.objects.filter(is_on=True).order_by("pk")[:1000])


def refuses(rule: LinkRule, name: str, value: str) -> bool:
    """Whether the rule refuses this value of this parameter; words count everywhere."""
    if rule.kind == LinkRule.Kind.WORD:
        return rule.text.casefold() in value.casefold()
    if name not in LINK_FIELDS:
        return False
    if rule.kind == LinkRule.Kind.HOST:
        return belongs(host_of(value), [rule.text.casefold()])
    return bool(_compiled(rule.text).match(value.casefold()))


@lru_cache(maxsize=2048)
def _compiled(pattern: str) -> re.Pattern[str]:
    # Only * and ? mean something: what fnmatch makes of them can't run away, whatever the link.
    literal = pattern.casefold().replace("[", "[[]")
    return re.compile(fnmatch.translate(literal))
