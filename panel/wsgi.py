"""The WSGI entry point for gunicorn and waitress."""

import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

from panel.memory import settle

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "panel.settings")

application = get_wsgi_application()
# Every view, before gunicorn --preload forks its workers and before the first visitor waits for it.
_ = get_resolver().url_patterns
settle()
