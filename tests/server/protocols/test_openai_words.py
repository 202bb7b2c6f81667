"""The words of OpenAI's answers, in scripts with and without spaces."""

import pytest

from model.captioner import Caption, Prediction, Word
from model.scripts import join
from server.protocols.openai.text import texts_of
from server.service import Answered


def answered(*words: str) -> Answered:
    caption = Caption(join(words, "icu"), -2.0, tuple(Word(word, 0.5) for word in words), -1.0)
    return Answered(4, 4, Prediction((caption,), (), 0.0, 0.0), 0.0, 0.0)


@pytest.mark.parametrize(
    ("words", "tokens"),
    [
        (["一只", "狗", "在", "一只", "狗"], ["一只", "狗", "在", "一只", "狗"]),
        (["สุนัข", "2", "ตัว"], ["สุนัข", " 2", " ตัว"]),
        (["a", "a", "dog"], ["a", " a", " dog"]),
        ([], []),
    ],
)
def test_a_streams_words_joined_are_the_caption(words: list[str], tokens: list[str]) -> None:
    (text,) = texts_of([answered(*words)], None)
    assert [piece.token for piece in text.pieces] == tokens
    assert text.text == "".join(tokens) == join(words, "icu")
    (two,) = texts_of([answered(*words), answered("狗", "跑")], None)
    assert two.text == f"{text.text}\n狗跑"
