"""The stage `distill-top`: an encoder's top, its maps and the teacher's answers, loaded from their directories."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

import numpy as np

from model.errors import DataError
from training.config import RUN_DEFAULTS, RunConfig, TopConfig
from training.data.photo_cache import PhotoCache, photo_key
from training.encoder.distill_top import check_train_from, distill_top, new_learner, total_steps
from training.encoder.lite2 import FEATURES, load_lite2
from training.encoder.maps import FROZEN, layer_before, open_maps, run_layers
from training.encoder.sources import encoder_file, load_encoder
from training.encoder.top_data import INPUTS, TopData, views_of
from training.loop.keras_run import estimate
from training.provenance import key_of

MOST_COMPARED = 500


def teach_top(
    directory: Path, encoder_run: Path, maps: Path, answers: Path, teacher: Path, photos: Sequence[Path],
    excluded: Sequence[str], config: TopConfig, *, classes: Mapping[str, int] = MappingProxyType({}),
    anew: bool = False, run_config: RunConfig = RUN_DEFAULTS,
) -> bool:  # fmt: skip
    """Trains the top of a grown encoder in a run directory, from its checkpoint on if there is one.

    Args:
        directory: Run directory.
        encoder_run: Where the encoder comes from; see `training.encoder.sources.encoder_file`.
        maps: Directory of the photos' maps.
        answers: Directory of the teacher's answers to the photos.
        teacher: The teacher's file.
        photos: All photos.
        excluded: File names that are not trained on; the first of them serve to compare encoder and teacher.
        config: Options.
        classes: Class by WordNet id, for `config.label_weight`.
        anew: Whether what an earlier run has learned is removed.
        run_config: Intervals of checkpoints and figures.

    Returns:
        Whether training is complete; False after a requested stop.

    Raises:
        DataError: Maps, answers, encoder or an earlier run do not fit, or no photo remains.
    """
    encoder, encoder_config, _ = load_encoder(encoder_run)
    learned = _learned(photos, excluded)
    names = frozenset(excluded)
    compared = [photo for photo in photos if photo.name in names][:MOST_COMPARED]
    check_train_from(encoder, config.train_from)  # before anything is written
    before = run_layers(encoder, FROZEN, layer_before(encoder, config.train_from))
    caches = open_maps(maps, encoder), PhotoCache(answers, key_of(teacher))
    directory.mkdir(parents=True, exist_ok=True)
    data = TopData(directory / INPUTS, before, learned, *caches, classes)
    held_out = TopData(directory / f"held_out_{INPUTS}", before, compared, *caches) if compared else None
    settings = {"encoder": asdict(encoder_config), "inputs": key_of(encoder_file(encoder_run), teacher)}
    classifier = load_lite2(teacher).classifier_weights
    return distill_top(
        directory, encoder, settings, data, config, classifier, held_out, anew=anew, run_config=run_config
    )


def estimate_top(
    encoder_run: Path, maps: Path, teacher: Path, photos: Sequence[Path], excluded: Sequence[str], config: TopConfig
) -> str:
    """Measures a few steps on made-up maps and adds the memory up; the arguments are those of `teach_top`.

    Returns:
        Lines of text.

    Raises:
        DataError: Maps or encoder do not fit, or no photo remains.
    """
    encoder = load_encoder(encoder_run).network
    keys = dict.fromkeys(photo_key(photo.read_bytes()) for photo in _learned(photos, excluded))
    views = len(views_of(list(keys), open_maps(maps, encoder)))
    classifier = load_lite2(teacher).classifier_weights
    learner = new_learner(encoder, config, classifier, np.ones(FEATURES, np.float32), views)
    inputs = math.prod(learner.network.input.shape[1:])
    mapped = 2 * views * inputs  # float16
    return estimate(learner.network, config.batch_size, total_steps(config, views), mapped)


def _learned(photos: Sequence[Path], excluded: Sequence[str]) -> list[Path]:
    names = frozenset(excluded)
    learned = [photo for photo in photos if photo.name not in names]
    if not learned:
        raise DataError(
            "expected photos to learn from, found none that is not excluded; give more photos or exclude fewer"
        )
    return learned
