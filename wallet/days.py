"""Days that somebody typed into a filter, where that somebody is."""

import datetime as dt

from django.utils import timezone
from django.utils.dateparse import parse_date

ONE_DAY = dt.timedelta(days=1)


def day_of(text: str) -> dt.date | None:
    """The day, or None for what is none."""
    try:
        day = parse_date(text)
    except ValueError:
        return None
    # A day at either end of the calendar has no neighbour to reckon with.
    return day if day and dt.date.min < day < dt.date.max - ONE_DAY else None


def midnight(day: dt.date) -> dt.datetime:
    """The day's begin where the customer is."""
    start = dt.datetime.combine(day, dt.time.min)
    return timezone.make_aware(start, timezone.get_current_timezone())
