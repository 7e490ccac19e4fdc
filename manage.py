#!/usr/bin/env python
"""Django's command line for the panel."""

import os
import sys


def main() -> None:
    if sys.argv[1:2] == ["demo"]:
        # The demo has a database and settings of its own, chosen before Django reads any.
        from panel.demo import prepare_environment  # noqa: PLC0415

        prepare_environment(os.environ)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "panel.settings")
    from django.core.management import execute_from_command_line  # noqa: PLC0415

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
