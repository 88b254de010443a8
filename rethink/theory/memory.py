"""Memory: stops a computation that would not fit, before it starts.

How many bytes are needed is the caller's to say.
"""

import os

from rethink.schema.errors import UserError


def available_bytes() -> int:
    """Returns how many bytes can be had without swapping; where the system does not say, all the memory there is."""
    try:
        with open("/proc/meminfo") as lines:
            kilobytes = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    except OSError:
        kilobytes = []
    return kilobytes[0] * 1024 if kilobytes else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def require_memory(what: str, needed: int, count: int, *, power: int, field: str = "data.train_examples") -> None:
    """Refuses a computation that would not fit.

    Args:
      what: it is, such as "A kernel model"; of `count` examples.
      needed: bytes, which grow with the examples to the `power`.
      field: of the config, that sets the count.

    Raises:
      UserError: fewer bytes are available; the line says how many examples they are enough for.
    """
    available = available_bytes()
    if needed > available:
        enough = int(count * (available / needed) ** (1 / power))
        raise UserError(
            f"{what} of {count:,} examples needs {needed / 1e9:.1f} GB and {available / 1e9:.1f} GB are available: set "
            f"{field} to at most {enough:,}, or free memory."
        )
