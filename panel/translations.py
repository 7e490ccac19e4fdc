"""Compiles the translations; the compiled files are not kept in git."""

import os
from pathlib import Path

import polib
from django.conf import settings


def compile_all() -> int:
    """Compile every .po file that is newer than its .mo file; returns how many were."""
    sources = [
        source for folder in settings.LOCALE_PATHS for source in Path(folder).glob("*/*/*.po")
    ]
    return sum(_compile(source) for source in sources)


def _compile(source: Path) -> bool:
    target = source.with_suffix(".mo")
    if target.exists() and target.stat().st_mtime >= source.stat().st_mtime:
        return False
    # Several processes may start at once; each writes its own file and the last one stays.
    own = target.with_suffix(f".{os.getpid()}.tmp")
    polib.pofile(str(source)).save_as_mofile(str(own))
    own.replace(target)
    return True
