"""Owns the exit statuses of a run and of a table.

Refuses to decide which one it is: who ends something does.
"""

import signal

EXIT_DONE, EXIT_FAILED, EXIT_MISTAKE, EXIT_DIVERGED = 0, 1, 2, 3
EXIT_SIGNAL = 128  # and the signal's number


def of_interruption(interruption: KeyboardInterrupt) -> int:
    """Returns what a shell reports of the signal that an interruption names, or of Ctrl-C."""
    return getattr(interruption, "status", EXIT_SIGNAL + signal.SIGINT)
