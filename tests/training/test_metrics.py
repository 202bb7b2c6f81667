import shutil

import pytest

from model.errors import DataError
from training.metrics import caption_scores

REFERENCES = {
    "a.jpg": ["A dog runs through the grass .", "The dog is running outside ."],
    "b.jpg": ["Two men play a guitar on a stage .", "A band plays ."],
    "c.jpg": ["A child in a red hat jumps into water .", "Kid jumping ."],
}


def test_repeating_a_reference_scores_full_marks() -> None:
    captions = {name: texts[0] for name, texts in REFERENCES.items()}
    scores = caption_scores(REFERENCES, captions, tokenizer="showtell")
    assert scores["BLEU-1"] == scores["BLEU-4"] == scores["ROUGE-L"] == 100.0
    assert scores["distinct captions"] == 3


def test_the_same_caption_for_every_image_scores_little() -> None:
    scores = caption_scores(REFERENCES, dict.fromkeys(REFERENCES, "a dog runs"), tokenizer="showtell")
    assert scores["distinct captions"] == 1
    assert scores["BLEU-4"] < 5
    assert 0 < scores["BLEU-1"] < 60


def test_bleu_is_the_one_of_the_paper() -> None:
    # 3 of 4 words match and both lengths are 4: precision 3/4, no brevity penalty.
    scores = caption_scores({"a": ["one two three four"]}, {"a": "one two three five"}, tokenizer="showtell")
    assert scores["BLEU-1"] == pytest.approx(75.0)
    # Of 3 pairs 2 match: sqrt(3/4 * 2/3).
    assert scores["BLEU-2"] == pytest.approx(70.71, abs=0.01)


def test_captions_of_other_images_are_refused() -> None:
    with pytest.raises(DataError, match="3 images"):
        caption_scores(REFERENCES, {"a.jpg": "a dog"}, tokenizer="showtell")


@pytest.mark.skipif(shutil.which("java") is None, reason="the Penn Treebank tokenizer needs Java")
def test_both_tokenizers_agree_on_plain_sentences() -> None:
    captions = {"a.jpg": "a dog runs outside", "b.jpg": "a band on a stage", "c.jpg": "a kid jumps"}
    ptb, ours = (caption_scores(REFERENCES, captions, tokenizer=name) for name in ("ptb", "showtell"))
    assert ptb == ours
