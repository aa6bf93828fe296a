import pytest

from napari_cryoshift.core.progress import Progress, finish


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
