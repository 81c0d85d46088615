import threading
import time

import pytest

from kbert.serving.admission import Admission, Deadline
from kbert.serving.status import ServingError


def test_one_runs_one_waits_and_the_third_is_refused():
    admission, order = Admission(1, 1), []
    inside, leave = threading.Event(), threading.Event()

    def first():
        with admission.place(Deadline(10)):
            inside.set()
            leave.wait(10)
            order.append("first")

    def second():
        with admission.place(Deadline(10)):
            order.append("second")

    threads = [threading.Thread(target=first)]
    threads[0].start()
    assert inside.wait(10)
    threads.append(threading.Thread(target=second))
    threads[1].start()
    while admission._inside < 2:
        time.sleep(0.001)
    with pytest.raises(ServingError, match="1 run and 1 wait") as caught, admission.place(Deadline(10)):
        pass
    assert caught.value.code == "RESOURCE_EXHAUSTED"
    leave.set()
    for thread in threads:
        thread.join(10)
    assert order == ["first", "second"]
    with admission.place(Deadline(1)):
        order.append("again")
    assert order[-1] == "again"


def test_who_waits_too_long_goes_and_leaves_the_place_to_others():
    admission = Admission(1, 1)
    with admission.place(Deadline(10)):
        started = time.monotonic()
        with pytest.raises(ServingError) as caught, admission.place(Deadline(0.05)):
            pass
        assert caught.value.code == "DEADLINE_EXCEEDED" and time.monotonic() - started < 5
        assert admission._inside == 1
    with admission.place(Deadline(1)):
        pass


def test_a_failed_request_gives_its_place_back():
    admission = Admission(1, 0)
    for _ in range(3):
        with pytest.raises(KeyError), admission.place(Deadline(1)):
            raise KeyError
