"""The Django project: settings, root URLs, the Celery app, periodic jobs and system checks."""

from panel.celery import app as celery_app

__all__ = ["celery_app"]
