from collections.abc import Iterator

import pytest
from pytest_django import Settings

from catalog.models import Provider
from catalog.tests.panel import Panel, listening


@pytest.fixture
def panel() -> Iterator[Panel]:
    with listening() as panel:
        yield panel


@pytest.fixture
def provider(db: None, panel: Panel, settings: Settings) -> Provider:
    """A provider whose list is what `panel` answers."""
    settings.ALLOW_PRIVATE_UPSTREAM = True
    return Provider.objects.create(name="Panel", url=panel.url, api_key="key-of-the-fixture")
