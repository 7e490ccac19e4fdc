"""The panel's settings with one more view, which does nothing but know who asks."""

from panel.settings import *  # noqa: F403

ROOT_URLCONF = "bench.web_urls"
