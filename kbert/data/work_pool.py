"""Runs one function on many tasks, in this process or in several, and reports how far it is."""

import multiprocessing
import multiprocessing.connection
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from absl import logging

from kbert.errors import InputError

_REPORT_SECONDS = 10.0

# In each process of a pool, the number of documents that all of them together have finished.
_counter: Any = None


def count_documents(number: int = 1) -> None:
    """What a task calls while it works, so that progress is seen within long tasks."""
    if _counter is not None:
        with _counter.get_lock():
            _counter.value += number


class WorkerKilled(InputError):
    """A process of a pool was killed; what other tasks have finished is sound."""


class WorkPool:
    """`workers` processes that do tasks; used as a context.

    With one worker the tasks run in this process. With more, new processes are started (not forked:
    TensorFlow does not survive that), and they end when this one does, however it ends.

    Args:
        workers: Number of processes.

    Raises:
        InputError: This machine has nothing that several processes could count in.
    """

    def __init__(self, workers: int):
        self._executor = None
        if workers < 2:
            self._counter = _Counter()
            return
        context = multiprocessing.get_context("spawn")
        try:
            self._counter = context.Value("q", 0)
        except OSError as error:  # As in a container without /dev/shm.
            raise InputError(
                f"several processes cannot work together here, most likely for want of /dev/shm "
                f"({error.strerror}); set --workers=1"
            ) from error
        self._executor = ProcessPoolExecutor(workers, context, _start_worker, (self._counter,))

    def __enter__(self) -> "WorkPool":
        return self

    def __exit__(self, kind, value, traceback) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def map(self, function: Callable, tasks: Iterable, *, title: str, total: int = 0) -> Iterator[tuple]:
        """`(task, function(task))` of all tasks, in the order in which they are done.

        Every ten seconds a line tells the documents done, the rate and the time left.

        Args:
            function: Of a module, so that it can be sent to processes; may call `count_documents`.
            tasks: Each something that can be sent too.
            title: Of the work, for the lines of progress.
            total: Documents that the tasks will count; 0: the tasks done tell how far the work is.

        Raises:
            WorkerKilled: A process was killed.
        """
        tasks = list(tasks)
        progress = _Progress(title, self._counter, total, len(tasks))
        try:
            for task, result in self._results(function, tasks):
                progress.tasks_done += 1
                yield task, result
        except BrokenProcessPool as error:
            raise WorkerKilled(
                f"{title}: a worker process was killed, most likely for want of memory; run the command "
                f"again, with fewer --workers: what is finished is kept"
            ) from error
        finally:
            progress.stop()

    def _results(self, function, tasks) -> Iterator[tuple]:
        if self._executor is None:
            _use_counter(self._counter)
            for task in tasks:
                yield task, function(task)
            return
        waiting = {self._executor.submit(function, task): task for task in tasks}
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield waiting.pop(future), future.result()


class _Counter:
    """In one process what `multiprocessing.Value` is in several, which not all machines have."""

    def __init__(self):
        self.value = 0
        self._lock = threading.Lock()

    def get_lock(self) -> threading.Lock:
        return self._lock


class _Progress:
    """A thread that logs a line now and then."""

    def __init__(self, title: str, counter: Any, total: int, num_tasks: int):
        self.tasks_done = 0
        self._title, self._counter, self._total, self._num_tasks = title, counter, total, num_tasks
        self._started = time.monotonic()
        counter.value = 0
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._report, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._finished.set()
        self._thread.join()
        self._log()

    def _report(self) -> None:
        while not self._finished.wait(_REPORT_SECONDS):
            self._log()

    def _log(self) -> None:
        seconds = max(time.monotonic() - self._started, 1e-3)
        documents = self._counter.value
        share = documents / self._total if self._total else self.tasks_done / max(1, self._num_tasks)
        left = f", {seconds / share - seconds:.0f} s left" if 0 < share < 1 else ""
        logging.info(
            "%s: %d documents, %.0f documents/s, %d of %d parts, %.0f %%%s",
            self._title, documents, documents / seconds, self.tasks_done, self._num_tasks, 100 * share, left,
        )  # fmt: skip


def _use_counter(counter: Any) -> None:
    global _counter
    _counter = counter


def _start_worker(counter: Any) -> None:
    _use_counter(counter)
    # Before TensorFlow starts its devices: one thread a worker, and no GPU, which the first would fill.
    os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1", CUDA_VISIBLE_DEVICES="-1")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot stop its workers, and what they finish later would be out of place."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
