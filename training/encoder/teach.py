"""An encoder's top and its teacher's answers brought together from their directories."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from model.errors import DataError
from training.config import TopConfig
from training.data.photo_cache import PhotoCache
from training.encoder.distill_top import INPUTS, TopData, distill_top, learning_part
from training.encoder.lite2 import load_lite2
from training.encoder.maps import open_maps
from training.encoder.sources import encoder_file, load_encoder
from training.provenance import key_of

MOST_COMPARED = 500


def teach_top(
    directory: Path, encoder_run: Path, maps: Path, answers: Path, teacher: Path, photos: Sequence[Path],
    excluded: Sequence[str], config: TopConfig,
) -> bool:  # fmt: skip
    """Trains the top of a grown encoder in a run directory, going on where it stopped.

    Args:
        directory: Run directory.
        encoder_run: Where the encoder comes from; see `training.encoder.sources.encoder_file`.
        maps: Directory of the photos' maps.
        answers: Directory of the teacher's answers to the photos.
        teacher: The teacher's file.
        photos: All photos.
        excluded: File names that are not trained on; the first of them serve to compare encoder and teacher.
        config: Options.

    Returns:
        Whether training is complete; False after a requested stop.

    Raises:
        DataError: Maps, answers, encoder or an earlier run do not fit, or no photo remains.
    """
    encoder, encoder_config, _ = load_encoder(encoder_run)
    names = frozenset(excluded)
    learned = [photo for photo in photos if photo.name not in names]
    if not learned:
        raise DataError("expected photos to learn from, found none that is not excluded")
    compared = [photo for photo in photos if photo.name in names][:MOST_COMPARED]
    before, _ = learning_part(encoder, config.train_from)
    caches = open_maps(maps, encoder), PhotoCache(answers, key_of(teacher))
    directory.mkdir(parents=True, exist_ok=True)
    data = TopData(directory / INPUTS, before, learned, *caches)
    held_out = TopData(directory / f"held_out_{INPUTS}", before, compared, *caches) if compared else None
    settings = {"encoder": asdict(encoder_config), "inputs": key_of(encoder_file(encoder_run), teacher)}
    classifier = load_lite2(teacher).classifier_weights
    return distill_top(directory, encoder, settings, data, config, classifier, held_out)
