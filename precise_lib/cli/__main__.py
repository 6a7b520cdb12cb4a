"""``python -m precise_lib.cli`` is ``precise``."""

from precise_lib.cli import app_main

app_main()
