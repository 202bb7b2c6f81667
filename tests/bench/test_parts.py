"""What the parts compute from what they measure, what is kept between runs, and the plain server."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.apart import absent
from bench.arithmetic import decoder_step_bytes, encoder_multiply_adds, identity_convolutions, milliseconds_at
from bench.asked import ASKED, OURS
from bench.cache import cached
from bench.http import PEERS, WARM_UP, Peer, answers
from bench.photos import HEIGHT, WIDTH, photo
from bench.plain_flask import create_app
from bench.process import family_memory_mib, memory_mib, run_json
from bench.protocols import CLIENTS, rows_of
from bench.servers import our_server, plain_server
from model.bundle import Bundle
from model.image import read_image
from model.presets import paper
from model.tensors import identity_kernel


def test_vgg19_takes_19_6_billion_multiply_adds() -> None:
    assert encoder_multiply_adds(paper().encoder) == 19_632_062_464


def test_pooling_the_input_leaves_a_quarter_of_the_convolutions() -> None:
    average = replace(paper().encoder, pooling="average")
    dense = 512 * 4096 + 4096 * 4096 + 4096 * 1000
    whole, pooled = (encoder_multiply_adds(replace(average, input_pooling=side)) - dense for side in (1, 2))
    assert pooled * 4 == whole


def test_what_is_not_computed_is_not_counted() -> None:
    side = 224 // 4
    spared = side * side * 9 * 256 * 256
    encoder = paper().encoder
    assert encoder_multiply_adds(encoder) - encoder_multiply_adds(encoder, {"block3_conv4"}) == spared


def test_only_a_pure_identity_is_not_computed(toy: Bundle) -> None:
    assert identity_convolutions(toy.weights) == set()
    names = [f"encoder/block5_conv{number}" for number in (2, 3, 4)]
    weights = dict(toy.weights)
    for name in names:
        channels = weights[f"{name}/kernel"].shape[-1]
        weights[f"{name}/kernel"] = identity_kernel(channels)
        weights[f"{name}/bias"] = np.zeros(channels, np.float32)
    weights[f"{names[1]}/bias"][0] = 0.1
    weights[f"{names[2]}/kernel"][0, 0, 0, 0] = 0.1
    assert identity_convolutions(weights) == {"block5_conv2"}


def test_a_word_of_the_paper_reads_31_million_weights() -> None:
    assert decoder_step_bytes(paper()) == 3 * 1000 * 1000 * 7 + 1000 * 10_000


def test_time_follows_from_work_and_rate() -> None:
    assert milliseconds_at(19.6e9, 196.0) == pytest.approx(100)


def test_a_rate_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="rate above 0"):
        milliseconds_at(1.0, 0.0)


def test_what_was_made_is_kept_until_its_source_changes(tmp_path: Path) -> None:
    source = tmp_path / "source.txt"
    made = []
    source.write_text("one")

    def make(folder: Path) -> None:
        (folder / "made").write_text(source.read_text())
        made.append(source.read_text())

    first = cached("thing", [source, "text"], make, tmp_path / "cache")
    assert cached("thing", [source, "text"], make, tmp_path / "cache") == first
    source.write_text("two")
    second = cached("thing", [source, "text"], make, tmp_path / "cache")

    assert made == ["one", "two"]
    assert (second / "made").read_text() == "two"
    assert list((tmp_path / "cache").iterdir()) == [second]


def test_what_could_not_be_made_is_not_kept(tmp_path: Path) -> None:
    def fail(_folder: Path) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        cached("thing", ["text"], fail, tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_photos_differ_and_are_as_large_as_said() -> None:
    image = read_image(photo(1))

    assert (image.width, image.height) == (WIDTH, HEIGHT)
    assert photo(1) == photo(1) != photo(2)
    assert 30_000 < len(photo(1)) < 100_000


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="expected one of"):
        run_json("bench.limits", "no-such-rate")


def test_the_peak_of_memory_is_no_less_than_what_is_taken_now() -> None:
    memory = memory_mib()

    assert 0 < memory["now"] <= memory["peak"]


def test_the_plain_application_captions_a_photo(toy_bundle: Path) -> None:
    answer = create_app(str(toy_bundle)).test_client().post("/predict", data=photo(1))

    assert answer.status_code == 200
    assert len(answer.get_json()["captions"]) == 3
    assert len(answer.get_json()["classes"]) == 5


@pytest.mark.slow
def test_both_servers_are_loaded_and_stopped(toy_bundle: Path) -> None:
    for server in (our_server(toy_bundle), plain_server(toy_bundle, ("--worker-class", "sync"))):
        with server as running:
            level = run_json("bench.load", running.port, running.path, 4, 8, WARM_UP // 10)
            memory = running.worker_memory_mib()

        assert level["statuses"]["200"] >= 8
        assert set(level["statuses"]) == {"200"}
        assert running.ready_seconds > 0
        assert memory["peak"] >= memory["now"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.what)
def test_other_servers_answer_what_ours_answers(peer: Peer, toy_bundle: Path) -> None:
    if (why := absent(peer.modules)) is not None:
        pytest.skip(why)
    with our_server(toy_bundle) as running:
        expected = answers(running)
    with peer.start(toy_bundle) as running:
        assert answers(running) == expected
        level = run_json("bench.load", running.port, running.path, 4, 8, 0, running.sent)
        memory = family_memory_mib(running.master)

    assert set(level["statuses"]) == {"200"}
    assert memory > 0


@pytest.mark.slow
def test_every_protocol_answers_what_the_load_generator_sends(toy_bundle: Path) -> None:
    ours, *others = rows_of(toy_bundle, rounds=1, answers=CLIENTS, warm_up=0)

    assert [ours.what, *(row.what for row in others)] == [f"{CLIENTS} clients: {name}" for name in ASKED]
    assert all(row.runs >= CLIENTS and row.figures["other errors"] == 0 for row in (ours, *others))
    assert ours.ratio is None
    assert {row.against for row in others} == {f"{CLIENTS} clients: {OURS}"}
