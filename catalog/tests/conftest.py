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
    """A provider whose list is what `panel` answers, and whose every change is taken over."""
    settings.ALLOW_PRIVATE_UPSTREAM = True
    return Provider.objects.create(
        name="Panel",
        url=panel.url,
        api_key="key-of-the-fixture",
        hold_cost_up=None,  # type: ignore[misc] # the field's class doesn't say that it may be null
        hold_retyped=False,
        hold_renamed=False,
        hold_below_cost=False,
    )
