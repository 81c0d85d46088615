"""Starts a script as several worker processes on this machine, which train together.

Example:
  python tf_scripts/launch_local.py --workers=2 -- tf_scripts/pretrain.py --strategy=multi_worker ...

Each process gets a TF_CONFIG of its own, with ports of the loopback interface, and its lines are printed with
its number before them. When one ends with an error, the others are ended too, and this ends with its exit
code. SIGTERM and Ctrl-C are passed on to all, and a closed terminal (but under nohup) as SIGTERM.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from absl import flags, logging

from kbert import entry
from kbert.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_integer("workers", 2, "Number of processes.", lower_bound=1)
flags.DEFINE_float("grace_seconds", 20.0, "Time to end by themselves, before they are killed.", lower_bound=0)


def _free_ports(count):
    """Ports that nobody listens on now; all are held until the last one is found."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _start(command, addresses, index):
    task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    return subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, "TF_CONFIG": json.dumps(task), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Not in the terminal's group: Ctrl-C would come to each of them twice.
        start_new_session=True,
    )


def _copy_lines(index, stream, target):
    for line in stream:
        try:
            target.buffer.write(b"[worker %d] %s\n" % (index, line.rstrip(b"\r\n")))
            target.flush()
        except OSError:  # A full disk, or nobody reads: workers whose lines are not taken would stand still.
            continue


def _exit_code(processes):
    """None while all run or are well; else the first error, a signal as shells tell it."""
    for index, process in enumerate(processes):
        code = process.poll()
        if code:
            logging.error("worker %d ended with %d", index, code)
            return 128 - code if code < 0 else code
    return None


def _end(processes, seconds):
    """Asks all that still run to end; kills those that do not, such as one that waits for the others."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + seconds
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(processes, received):
    """The exit code of all together."""
    passed_on = None
    while any(process.poll() is None for process in processes):
        if received and passed_on is None:
            passed_on = time.monotonic()
            for process in processes:
                if process.poll() is None:
                    process.send_signal(received[0])
        # After a signal they end one after another; they have the grace time for it.
        in_grace = passed_on is not None and time.monotonic() - passed_on < FLAGS.grace_seconds
        if not in_grace and (passed_on is not None or _exit_code(processes)):
            break
        time.sleep(0.1)
    code = _exit_code(processes)
    _end(processes, FLAGS.grace_seconds if passed_on is None else 0)
    return code or _exit_code(processes) or 0


def _receive_signals():
    """A list that the signals to pass on are added to as they come."""
    received = []
    passed_on: dict[int, int] = {signal.SIGTERM: signal.SIGTERM, signal.SIGINT: signal.SIGINT}
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none; who ignores it is to outlive the terminal.
    if hangup and signal.getsignal(hangup) is not signal.SIG_IGN:
        passed_on[hangup] = signal.SIGTERM  # At which the workers save.
    for number in passed_on:
        signal.signal(number, lambda number, frame: received.append(passed_on[number]))
    return received


def main():
    if not COMMAND:
        raise InputError("no script; expected launch_local.py --workers=N -- SCRIPT ARGUMENTS")
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(FLAGS.workers)]
    received = _receive_signals()
    processes = [_start(COMMAND, addresses, index) for index in range(FLAGS.workers)]
    readers = [
        threading.Thread(target=_copy_lines, args=(index, stream, target))
        for index, process in enumerate(processes)
        for stream, target in ((process.stdout, sys.stdout), (process.stderr, sys.stderr))
    ]
    for reader in readers:
        reader.start()
    code = _wait(processes, received)
    for reader in readers:
        reader.join()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        os._exit(code)  # Python would try it again as it ends, and make the code 120.
    sys.exit(code)


if __name__ == "__main__":
    # What comes after -- is the script's; absl would take it for arguments of this one.
    border = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    COMMAND = sys.argv[border + 1 :]
    del sys.argv[border:]
    entry.run(main)
