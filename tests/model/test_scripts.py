"""Scripts: where a space stands between two words, and how a sentence ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.library.texts import alt_text
from model.scripts import full_stop, gaps, join
from model.vocabulary import UNKNOWN


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], ""),
        (["狗"], "狗"),
        (["一只", "狗", "在", "草地", "上"], "一只狗在草地上"),
        (["3", "只", "狗"], "3只狗"),
        (["一个", "男人", "拿", "着", "iphone", "15", "手机"], "一个男人拿着iphone 15手机"),
        (["白い", "t", "シャツ", "を", "着る"], "白いtシャツを着る"),
        (["コーヒー", "を", "飲む"], "コーヒーを飲む"),
        (["𠮷", "野"], "𠮷野"),
        (["สุนัข", "วิ่ง"], "สุนัขวิ่ง"),
        (["สุนัข", "2", "ตัว"], "สุนัข 2 ตัว"),
        (["สวม", "เสื้อ", "nike", "สี", "ขาว"], "สวมเสื้อ nike สีขาว"),
        (["ໝາ", "ແລ່ນ"], "ໝາແລ່ນ"),
        (["ឆ្កែ", "រត់"], "ឆ្កែរត់"),
        (["ခွေး", "ပြေး"], "ခွေးပြေး"),
        (["a", "dog", "runs"], "a dog runs"),
        (["كلب", "يجري"], "كلب يجري"),
        (["개", "가", "뛴다"], "개 가 뛴다"),
        (["คน", UNKNOWN], f"คน {UNKNOWN}"),
    ],
)
def test_words_are_joined_as_their_scripts_do(words: list[str], text: str) -> None:
    assert join(words, "icu") == text
    assert join(words, "spaces") == " ".join(words)


@given(st.lists(st.text("aß草ตあ2ا'", min_size=1)))
def test_a_gap_stands_in_front_of_each_word_and_none_in_front_of_the_first(words: list[str]) -> None:
    for segmentation in ("icu", "spaces"):
        found = gaps(words, segmentation)
        assert len(found) == len(words)
        assert set(found) <= {"", " "}
        assert found[:1] in ([], [""])


@given(st.lists(st.text("abcäøяδاवक", min_size=1), max_size=6))
def test_scripts_with_spaces_keep_them(words: list[str]) -> None:
    assert join(words, "icu") == join(words, "spaces")


@pytest.mark.parametrize(
    ("caption", "alt"),
    [
        ("a dog runs", "A dog runs."),
        ("straße", "Straße."),
        ("一只狗", "一只狗。"),
        ("เห็นน้ำ", "เห็นน้ำ"),
        ("कुत्ता है", "कुत्ता है।"),
        ("كلب", "كلب."),
        ("ခွေး", "ခွေး။"),
        ("ძაღლი", "ძაღლი."),
        ("3 dogs", "3 dogs."),
    ],
)
def test_alternative_text_is_a_sentence_of_its_script(caption: str, alt: str) -> None:
    assert alt_text(caption) == alt


def test_nothing_ends_with_a_full_stop_of_latin() -> None:
    assert full_stop("") == "."
