"""What the part on training computes from its rounds."""

import pytest

from bench.training import VARIANTS, rows_of


def test_ratios_are_taken_within_a_round_and_their_spread_is_told() -> None:
    fit = [0.2, 0.3, 0.5]
    ours = [0.1, 0.2, 0.25]  # 2, 1.5 and 2 times as fast
    seconds = dict.fromkeys(VARIANTS, ours) | {"fit": fit}
    rounds = [
        {name: {"steps": [values[number]] * 3, "waits": [0.01] * 3} for name, values in seconds.items()}
        for number in range(3)
    ]
    rows = {row.what: row for row in rows_of(rounds)}
    assert list(rows) == list(VARIANTS.values())
    peer = rows[VARIANTS["fit"]]
    assert (peer.value, peer.runs, peer.ratio) == (300, 9, None)
    assert peer.remark.startswith("Keras 3.")
    row = rows[VARIANTS["records"]]
    assert (row.value, row.ratio, row.against) == (200, 2.0, VARIANTS["fit"])
    assert row.figures == {"least_ratio": 1.5, "largest_ratio": 2.0}
    assert row.remark == f"input wait {100 * 0.03 / 0.55:.1f} %"
    assert rows[VARIANTS["two replicas"]].ratio == pytest.approx(1)
