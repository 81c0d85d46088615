"""Scripts that a benchmark starts: they hear that it is stopped, and it waits until they have saved."""

import signal
import subprocess


def run(command: list[str], **options):
    """Runs a script to its end.

    SIGTERM is passed on to it; Ctrl-C in a terminal comes to both. Then it is given the time that it needs:
    `subprocess.run` would kill it after a quarter of a second.

    Args:
        command: Of the process.
        **options: Of `subprocess.Popen`.

    Raises:
        KeyboardInterrupt: One of the two came, and the script has ended.
        subprocess.CalledProcessError: It failed.
    """
    received = []

    def note(number, frame):
        received.append(number)
        if number == signal.SIGTERM:
            child.send_signal(number)

    child = subprocess.Popen(command, **options)
    earlier = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        status = child.wait()
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
    if received:
        raise KeyboardInterrupt
    if status:
        raise subprocess.CalledProcessError(status, command)
