"""The words of captions as `prepare` counts them: its options, the choice of how they are parted, and what is said."""

from collections import Counter
from collections.abc import Sequence
from typing import get_args

import click

from model.config import MAX_WORDS, MIN_VOCABULARY_SIZE
from model.errors import DataError
from model.scripts import Segmentation
from model.vocabulary import SPECIAL, Vocabulary
from training.commands.options import option
from training.data.captioned import CaptionedImage
from training.data.language import DEFAULT_LANGUAGE, Language, find_language, unspaced_share

WORDS = (
    option("--min-count", type=click.IntRange(1), default=5, help="Fewest occurrences of a word that is kept."),
    option("--max-words", type=click.IntRange(1, MAX_WORDS), default=20, help="Words after which a caption is cut."),
    option(
        "--vocabulary-size",
        type=click.IntRange(MIN_VOCABULARY_SIZE),
        help="Exact number of tokens: the most frequent words, with padding, end and unknown. Default: all words kept.",
    ),
    option(
        "--segmentation",
        type=click.Choice(["auto", *get_args(Segmentation)]),
        default="auto",
        help="How captions are parted into words: at spaces, or by ICU's dictionaries too, for Chinese, Japanese, "
        "Thai, Lao, Khmer and Burmese. auto: by the captions' scripts.",
    ),
    option(
        "--language",
        help="Language of the captions, such as en, de or zh: METEOR and the tokenizer ptb are for en alone. Default: "
        "en if the captions have frequent words of English.",
    ),
)
"""Options about words."""


def tell_language(images: Sequence[CaptionedImage], segmentation: str = "auto", tag: str | None = None) -> Language:
    """Returns the language of captions, and prints in one line what was chosen unless it is English at spaces.

    Args:
        images: Photos with captions, of all splits.
        segmentation: As `--segmentation` has it.
        tag: As `--language` has it.

    Raises:
        DataError: The tag is none.
    """
    captions = [caption for image in images for caption in image.captions]
    wanted = next((known for known in get_args(Segmentation) if known == segmentation), None)
    language = find_language(captions, segmentation=wanted, tag=tag)
    if language != DEFAULT_LANGUAGE:
        share = f"{100 * unspaced_share(captions):.0f} % of captions are in scripts without spaces"
        left_out = "" if language.is_english else "; METEOR and ptb, which are for English, will be left out"
        click.echo(f"words: parted by {language.segmentation} ({share}); language: {language.tag}{left_out}")
    return language


def build_vocabulary(
    images: Sequence[CaptionedImage], language: Language, min_count: int, size: int | None = None
) -> Vocabulary:
    """Returns the vocabulary of the captions of train.

    Args:
        images: Photos with captions, of all splits.
        language: Language of the captions.
        min_count: Fewest occurrences of a word that is kept.
        size: Exact number of tokens; None keeps every word that is frequent enough.

    Raises:
        DataError: No word, or too few words, are frequent enough.
    """
    train = [caption for image in images if image.split == "train" for caption in image.captions]
    vocabulary = Vocabulary.build(train, min_count=min_count, max_size=size, tokenizer=language.tokenizer)
    if len(vocabulary) == len(SPECIAL):
        raise DataError(_why_no_words(images, train, language, min_count))
    if size is not None and len(vocabulary) < size:
        raise DataError(
            f"expected {size} tokens, found {len(vocabulary)} with words that occur at least {min_count} times in the "
            "captions of train; lower --min-count or --vocabulary-size"
        )
    return vocabulary


def _why_no_words(
    images: Sequence[CaptionedImage], train: Sequence[str], language: Language, min_count: int
) -> str:  # fmt: skip
    """Returns why there is no word to learn, and what to do."""
    if not train:
        counts = Counter(image.split for image in images)
        found = " and ".join(f"{count} of {split}" for split, count in counts.items())
        return f"expected photos of train, found {found} alone; check the names of splits, files and folders"
    tokenizer = language.tokenizer
    most, count = Counter(word for text in train for word in tokenizer(text)).most_common(1)[0]
    return (
        f"expected words that occur at least {min_count} times in the captions of train, found none (the most "
        f"frequent, {most!r}, occurs {count} times); lower --min-count"
    )
