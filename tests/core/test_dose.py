"""Radiation damage, against the paper's formula by hand and another library."""

import math

import pytest
import torch
import torch_fourier_filter.dose_weight

from napari_cryoshift.core.simulate.dose import (
    accumulated_dose,
    critical_dose,
    damage,
    dose_symmetric_order,
)


def test_the_first_image_is_the_untilted_one():
    angles = torch.tensor([-9.0, -6, -3, 0, 3, 6, 9])
    assert dose_symmetric_order(angles).tolist() == [6, 4, 2, 0, 1, 3, 5]
    # Past the shorter end of a lopsided series there is one side left.
    assert dose_symmetric_order(torch.tensor([-3.0, 0, 3, 6, 9])).tolist() == [2, 0, 1, 3, 4]


def test_dose_adds_up_to_the_middle_of_each_exposure():
    doses = accumulated_dose(torch.tensor([-3.0, 0, 3]), 90.0)
    assert doses.tolist() == [75.0, 15.0, 45.0]


def test_damage_is_that_of_grant_and_grigorieff():
    k = torch.tensor([0.0, 0.01, 0.05, 0.1])
    by_hand = 0.245 * 0.1**-1.665 + 2.81
    assert by_hand == pytest.approx(14.14, abs=0.01)
    assert float(critical_dose(k)[-1]) == pytest.approx(by_hand, rel=1e-5)
    reference = torch_fourier_filter.dose_weight.critical_exposure(k[1:])
    torch.testing.assert_close(critical_dose(k)[1:], reference)
    left = damage(k, torch.tensor([0.0, 30.0]))
    assert (left[0] == 1).all()
    assert left[1, 0] == 1  # what has no structure cannot be damaged
    assert float(left[1, -1]) == pytest.approx(math.exp(-30 / (2 * by_hand)), rel=1e-5)
