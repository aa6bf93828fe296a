"""Jobs in worker threads: what arrives in the window, and what is cleaned up."""

import threading
import time

import pytest

from napari_cryoshift.core.progress import Progress
from napari_cryoshift.widgets.job import JobBar, JobError, duration, sentence, start


def counting(steps, ended=None, pause=0.0):
    try:
        for step in range(steps):
            time.sleep(pause)
            yield Progress("counting", step + 1, steps, {"loss": 1 / (step + 1)})
        return steps
    finally:
        if ended is not None:
            ended.append(threading.current_thread().name)


def failing(error):
    yield Progress("failing", 1, 2)
    raise error


def test_the_result_arrives_in_the_main_thread(qtbot):
    seen = []
    running = start(
        counting(5),
        "Counting",
        done=lambda result: seen.append((result, threading.current_thread())),
    )
    with qtbot.waitSignal(running.ended):
        pass
    assert seen == [(5, threading.main_thread())]


def test_no_report_is_lost_and_no_more_than_ten_a_second(qtbot):
    batches = []
    running = start(counting(200, pause=0.002), "Counting")
    running.progressed.connect(batches.append)
    began = time.monotonic()
    with qtbot.waitSignal(running.ended, timeout=10_000):
        pass
    seconds = time.monotonic() - began
    steps = [progress.step for batch in batches for progress in batch]
    assert steps == list(range(1, 201))
    assert len(batches) <= 10 * seconds + 2


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), ValueError("64 but 60; do x")])
def test_every_error_reaches_the_window(qtbot, error):
    heard = []
    running = start(failing(error), "Failing", failed=heard.append)
    with qtbot.waitSignal(running.ended):
        pass
    assert heard == [sentence(error)]


def test_stopping_runs_the_finally_of_the_job_within_one_step(qtbot):
    ended, results = [], []
    running = start(counting(1000, ended, pause=0.02), "Counting", done=results.append)
    with qtbot.waitSignal(running.progressed):
        pass
    began = time.monotonic()
    with qtbot.waitSignal(running.ended):
        running.stop()
    assert time.monotonic() - began < 1
    assert len(ended) == 1
    assert results == []


def test_a_worker_that_napari_quits_is_cleaned_up_too(qtbot):
    ended = []
    running = start(counting(1000, ended, pause=0.02), "Counting")
    with qtbot.waitSignal(running.progressed):
        pass
    with qtbot.waitSignal(running.ended):
        running._worker.quit()  # what napari calls when its window is closed
    assert len(ended) == 1


def test_the_bar_shows_phase_and_time_left_and_stops_the_job(qtbot):
    bar = JobBar()
    qtbot.addWidget(bar)
    bar.show()
    running = start(counting(400, pause=0.01), "Counting")
    bar.follow(running)
    qtbot.waitUntil(lambda: "left" in bar._left.text())
    assert bar._phase.text() == "counting"
    with qtbot.waitSignal(running.ended):
        bar._stop.click()
    assert bar.isHidden()


def test_time_left_of_a_training_that_goes_on_counts_what_was_done_since(qtbot):
    def going_on():
        for step in range(901, 905):
            yield Progress("learning", step, 1000)
            time.sleep(0.15)

    estimates = []
    running = start(going_on(), "Learning")
    running.progressed.connect(lambda _: estimates.append(running.seconds_left))
    with qtbot.waitSignal(running.ended, timeout=10_000):
        pass
    assert estimates[0] is None
    assert min(estimates[1:]) > 96 * 0.15 * 0.9  # and not as if 904 steps had taken 0.6 s


def test_errors_are_said_in_one_line():
    assert sentence(ValueError("64 volumes\n but 60 labels")) == "64 volumes but 60 labels"
    assert sentence(RuntimeError("no memory")) == "RuntimeError: no memory"
    assert issubclass(JobError, Exception)
    assert not issubclass(JobError, RuntimeError)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (42, "42 s"), (200, "about 3 min"), (7200, "about 2.0 h")]
)
def test_times_are_said_as_a_person_would(seconds, text):
    assert duration(seconds) == text
