"""Cores: what is computed from the parts of a photo."""

import pytest

from bench.cores import Parts, simulated
from server.replicas import Plan

PARTS = Parts(one=0.040, threads=2, many=0.022, python=0.002, decoding=0.001, serving=0.001)


@pytest.mark.parametrize(("threads", "seconds"), [(1, 0.040), (2, 0.022), (4, 0.013)])
def test_captioning_follows_the_two_measured_points(threads: int, seconds: float) -> None:
    assert PARTS.captioning(threads) == pytest.approx(seconds)


def test_a_core_that_waits_is_lost() -> None:
    assert simulated(PARTS, Plan(1, 2)) == pytest.approx(2 / (2 * 0.024 + 0.002))
    assert simulated(PARTS, Plan(2, 1)) == pytest.approx(2 / (0.042 + 0.002))


def test_python_limits_a_process_however_many_its_cores() -> None:
    assert simulated(PARTS, Plan(64, 1)) == pytest.approx(1 / 0.003)
