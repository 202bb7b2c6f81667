"""Measures what the protocols of other servers cost: the same photos by each of them, against our own endpoint.

The preset `small` with random weights, one server, JPEGs of 500x375, one caption each. Our own endpoint gets the files
as they are.
"""

from pathlib import Path

from bench import process
from bench.artifacts import prepared
from bench.asked import ASKED, OURS
from bench.http import level_row
from bench.load import Level
from bench.report import Row, compared, middle
from bench.servers import our_server
from model.bundle import BundleInfo

PART = "protocols"
CLIENTS = 16
ANSWERS = 200
WARM_UP = 32
ROUNDS = 3


def measure() -> list[Row]:
    """Measures images a second by each protocol: the middle of a few rounds, in which they take turns."""
    return rows_of(prepared("bundle", "small"), rounds=ROUNDS, answers=ANSWERS, warm_up=WARM_UP)


def rows_of(bundle: Path, *, rounds: int, answers: int, warm_up: int) -> list[Row]:
    """Returns a row for each protocol, compared with our own endpoint's.

    Args:
        bundle: What to serve.
        rounds: How often each is measured; an odd number.
        answers: Good answers each time.
        warm_up: Answers before them.
    """
    model = BundleInfo.from_bundle(bundle).config.name
    found: dict[str, list[Row]] = {name: [] for name in ASKED}
    with our_server(bundle) as running:
        for _ in range(rounds):
            for name, asked in ASKED.items():
                path = asked.path.format(model=model)
                level = process.run_json("bench.load", running.port, path, CLIENTS, answers, warm_up, name)
                found[name].append(level_row(name, Level(**level), PART))
    told = {name: middle(rows) for name, rows in found.items()}
    return [row if name == OURS else compared(row, told[OURS]) for name, row in told.items()]
