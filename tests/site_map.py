"""Every address of the site, found from its URL patterns; a new one is in the walks by itself."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from zipfile import ZipFile

from django.urls import URLPattern, URLResolver, get_resolver


@dataclass(frozen=True)
class Address:
    """A URL pattern: its full name (namespace:name) and its route with <parameters>."""

    name: str
    route: str

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"<(?:\w+:)?(\w+)>", self.route)

    @property
    def is_admin(self) -> bool:
        return self.route.startswith("admin/")

    def filled(self, value: object) -> str:
        """The path with every parameter replaced by the value."""
        plain = re.sub(r"<(?:\w+:)?\w+>", str(value), self.route)
        return "/" + re.sub(r"\(\?P?[^)]*\)", str(value), plain).strip("^$").replace("\\Z", "")


def addresses() -> list[Address]:
    """All of them, the admin's too."""
    return list(_walk(get_resolver().url_patterns, "", ""))


def _walk(patterns: list[URLPattern | URLResolver], route: str, space: str) -> Iterator[Address]:
    for each in patterns:
        # Regular expressions of allauth begin with ^, which means nothing inside a longer route.
        here = route + str(each.pattern).removeprefix("^").removesuffix("$")
        if isinstance(each, URLResolver):
            inner = f"{space}{each.namespace}:" if each.namespace else space
            yield from _walk(each.url_patterns, here, inner)
        else:
            yield Address(f"{space}{each.name}", here)


def text_of(answer: Any) -> str:
    """What an answer says; of a workbook, the texts of all that is packed in it."""
    content: bytes = b"".join(answer) if answer.streaming else answer.content
    if not content.startswith(b"PK"):
        return content.decode()
    with ZipFile(BytesIO(content)) as packed:
        return "\n".join(packed.read(name).decode(errors="replace") for name in packed.namelist())
