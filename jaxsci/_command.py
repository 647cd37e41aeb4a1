"""What the commands of ``jaxsci`` share."""

from __future__ import annotations

import time
from collections.abc import Callable


class BadInput(Exception):
    """What the user typed cannot be run; the message is the line to print."""


def clock() -> Callable[[str], None]:
    """Prints lines with the seconds since now in front."""
    began = time.perf_counter()

    def say(text: str) -> None:
        print(f"[{time.perf_counter() - began:6.1f} s] {text}", flush=True)

    return say
