import pytest

from napari_cryoshift.core.progress import Pace, Progress, finish


def job(steps, log):
    try:
        for step in range(steps):
            yield Progress("counting", step + 1, steps)
        return "done"
    finally:
        log.append("cleaned up")


def test_finish_returns_the_result_and_reports_every_step():
    log, seen = [], []
    assert finish(job(3, log), seen.append) == "done"
    assert [(report.step, report.total) for report in seen] == [(1, 3), (2, 3), (3, 3)]
    assert finish(job(0, log)) == "done"


def test_closing_a_job_cancels_it_and_lets_it_clean_up():
    log = []
    running = job(1000, log)
    next(running)
    running.close()
    assert log == ["cleaned up"]
    assert list(running) == []


def test_an_error_passes_through():
    def failing():
        yield Progress("counting", 1, 2)
        raise ValueError("0 volumes; give one")

    with pytest.raises(ValueError, match="0 volumes; give one"):
        finish(failing())


def test_an_error_of_whom_it_is_reported_to_cancels_the_job():
    log = []

    def report(progress):
        if progress.step == 2:
            raise KeyboardInterrupt

    running = job(3, log)
    with pytest.raises(KeyboardInterrupt):
        finish(running, report)
    assert log == ["cleaned up"]
    assert list(running) == []


def test_time_left_is_what_the_steps_so_far_took():
    pace = Pace()
    assert pace.seconds_left(Progress("learning", 1, 50), now=7) is None
    assert pace.seconds_left(Progress("learning", 11, 50), now=107) == 10 * 39
    assert pace.seconds_left(Progress("learning", 50, 50), now=120) is None
    assert pace.seconds_left(Progress("judging", 0, 0), now=130) is None


def test_a_phase_that_goes_on_in_its_middle_is_not_taken_for_a_quick_one():
    """Steps done before a stop took none of the time since."""
    pace = Pace()
    assert pace.seconds_left(Progress("learning", 900, 1000), now=0) is None
    assert pace.seconds_left(Progress("learning", 902, 1000), now=20) == 10 * 98


def test_a_phase_that_comes_again_is_counted_anew():
    pace = Pace()
    for step in range(1, 6):
        pace.seconds_left(Progress("reading", step, 5), now=step)
    assert pace.seconds_left(Progress("reading", 1, 5), now=1000) is None
    assert pace.seconds_left(Progress("reading", 2, 5), now=1002) == 2 * 3
