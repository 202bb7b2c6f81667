"""Whether a decoder, an encoder and records belong together."""

from pathlib import Path

from model.bundle import CONFIG, VOCABULARY, WEIGHTS
from model.config import CaptionerConfig
from model.errors import DataError
from training.data.records import check_kind, read_max_words
from training.decoder.earlier import decoder_file
from training.decoder.features import input_key
from training.loop.checkpoint import read_progress


def check_belongs(captioner_run: Path, encoder_run: Path, records: Path) -> None:
    """Checks that a decoder was trained on these records with this encoder, or together with it.

    Raises:
        DataError: It was not, or there is no trained decoder yet.
    """
    file = decoder_file(captioner_run)
    check_kind(records, "captions")
    if (records / VOCABULARY).read_bytes() != (captioner_run / VOCABULARY).read_bytes():
        raise DataError(
            f"{captioner_run}: expected the vocabulary of {records}, found another; give the records it was trained on"
        )
    known = read_max_words(records)
    found = CaptionerConfig.from_json((captioner_run / CONFIG).read_text()).search.max_words
    if known not in (None, found):
        raise DataError(
            f"{captioner_run}: expected a decoder of captions of at most {known} words like those of {records}, found "
            f"one of {found}; give the records it was trained on, or train it anew"
        )
    if captioner_run.resolve() == encoder_run.resolve():
        return
    if file.name == WEIGHTS:
        raise DataError(
            f"{encoder_run}: expected the encoder of the bundle {captioner_run}, which its decoder was trained on; "
            "give the bundle as both"
        )
    if read_progress(file).get("inputs") != input_key(encoder_run, records):
        raise DataError(
            f"{captioner_run}: expected a decoder trained on {records} with the encoder of {encoder_run} as it is now; "
            "give the three that belong together, or train the decoder in a new directory"
        )
