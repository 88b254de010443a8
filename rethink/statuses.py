"""Owns the exit statuses of a run and of a table.

Refuses to decide which one it is: who ends something does.
"""

EXIT_DONE, EXIT_FAILED, EXIT_MISTAKE, EXIT_DIVERGED = 0, 1, 2, 3
EXIT_SIGNAL = 128  # and the signal's number
