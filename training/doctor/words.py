"""The captions of the records: does the vocabulary cover them, and are they cut?"""

from statistics import median

from model.vocabulary import UNKNOWN_ID
from training.doctor.check import Check
from training.doctor.evidence import Contents, Evidence
from training.doctor.verdicts import Bounds, Figure, LackingError, present


def captioned(contents: Contents | LackingError) -> Contents:
    """Returns the photos of caption records.

    Raises:
        LackingError: The records hold classes.
    """
    found = present(contents)
    if not found.captioned:
        raise LackingError("the records hold classes, not captions", "give --records with captions")
    return found


def of_photos(contents: Contents) -> str:
    """Returns how many photos were read, in words."""
    read = len(contents.photos)
    return f"{read} photos" if read == contents.total else f"{read} of {contents.total} photos"


def _unknown(evidence: Evidence) -> list[tuple[int, int]]:
    """Returns the unknown words and all words of each caption of dev."""
    captions = [evidence.encode(text) for photo in captioned(evidence.dev).photos for text in photo.captions]
    return [(ids.count(UNKNOWN_ID), len(ids) - 1) for ids in captions]


def _unknown_words(evidence: Evidence) -> Figure:
    counts = _unknown(evidence)
    unknown = sum(count for count, _ in counts)
    words = sum(words for _, words in counts)
    return Figure(
        value=100 * unknown / max(1, words), text=f"{unknown} of {words} words of {of_photos(captioned(evidence.dev))}"
    )


def _with_unknown(evidence: Evidence) -> Figure:
    counts = _unknown(evidence)
    found = sum(count > 0 for count, _ in counts)
    return Figure(value=100 * found / len(counts), text=f"{found} of {len(counts)} captions")


def _cut(evidence: Evidence) -> Figure:
    contents = captioned(evidence.train)
    pairs = [pair for photo in contents.photos for pair in zip(photo.captions, photo.lengths, strict=True)]
    whole = sorted(len(evidence.encode(text)) - 1 for text, _ in pairs)
    cut = sum(len(evidence.encode(text)) > length for text, length in pairs)
    longest = max(length for _, length in pairs) - 1
    spread = (
        f"{whole[0]} to {whole[-1]} words, median {median(whole):g}, 95 % have up to {whole[95 * len(whole) // 100]}"
    )
    text = f"{cut} of {len(pairs)} captions of train ({spread})"
    return Figure(value=100 * cut / len(pairs), text=f"{text}, cut at {longest}" if cut else text)


CHECKS = (
    Check(
        name="unknown words",
        about="Words of dev's captions that the vocabulary lacks.",
        bounds=Bounds(5, 20),
        advice="prepare records with a lower `--min-count`, or check that model and records speak one language",
        measure=_unknown_words,
    ),
    Check(
        name="captions with an unknown word",
        about="Captions of dev with a word that the vocabulary lacks.",
        bounds=Bounds(40, 80),
        advice="prepare records with a lower `--min-count`: a decoder learns little from captions full of holes",
        measure=_with_unknown,
    ),
    Check(
        name="captions cut",
        about="Captions of train that are cut at `--max-words` of `prepare`.",
        bounds=Bounds(5, 30),
        advice="prepare records with a higher `--max-words`, and export with one to match",
        measure=_cut,
    ),
)
"""The checks of this family."""
