"""The language of captions: how words of each script are parted, and what is found out about it."""

import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import DataError
from model.scripts import CLOSE, LOOSE, join
from model.vocabulary import JOINERS, tokenize
from training.data.language import Language, find_language, tokenizer_of

LETTERS = {
    "Chinese": "一只狗在草地上跑两个人和穿红色衣的",
    "Japanese": "赤い服を着た犬が草の上で走るガラスーヶ々",
    "Thai": "สุนัขวิ่งบนหญ้าคนสองน้ำๆ๓",
    "Lao": "ໝາແລ່ນເທິງຫຍ້ານ້ຳ໓",
    "Khmer": "ឆ្កែកំពុងរត់លើស្មៅ៣",
    "Burmese": "ခွေးသည်မြက်ပေါ်တွင်ပြေး၃",
}
OTHERS = "aBß2 '-,.،。、！\u3000Ａя"

SENTENCES = {
    "zh": ("一只棕色的狗在草地上奔跑。", "一只|棕色|的|狗|在|草地|上|奔跑"),
    "zh-Hant": ("兩個人，穿著T恤！", "兩個|人|穿著|t|恤"),
    "ja": (
        "赤いＴシャツを着た男の人がコーヒーを飲んでいる。",
        "赤い|t|シャツ|を|着|た|男|の|人|が|コーヒー|を|飲|んで|いる",
    ),
    "th": ("สุนัข 2 ตัวกำลังวิ่งบนหญ้า", "สุนัข|2|ตัว|กำลัง|วิ่ง|บน|หญ้า"),
    "lo": ("ໝາແລ່ນເທິງຫຍ້າ", "ໝາ|ແລ່ນ|ເທິງ|ຫຍ້າ"),
    "km": ("ឆ្កែកំពុងរត់លើស្មៅ។", "ឆ្កែ|កំពុង|រត់|លើ|ស្មៅ"),
    "my": ("ခွေးသည်ပြေးသည်။", "ခွေး|သည်|ပြေးသည်"),
}


def normal_form(text: str) -> str:
    """Returns what a caption reads after it was parted and joined, without parting it."""
    unspaced = CLOSE + LOOSE
    words = " ".join(tokenize(text))
    words = re.sub(f"(?<=[{unspaced}])[{JOINERS}]|[{JOINERS}](?=[{unspaced}])", " ", words)
    marks = "".join(letter for letter in words if unicodedata.category(letter)[0] == "M")
    words = " ".join(re.sub(f"(?<![{unspaced}])[{marks}]+", " ", words).split()) if marks else words
    words = re.sub(f"(?<=[{CLOSE}]) +| +(?=[{CLOSE}])|(?<=[{LOOSE}]) +(?=[{LOOSE}])", "", words)
    other = f"[^{unspaced} ]"
    return re.sub(f"(?<=[{LOOSE}])(?={other})|(?<={other})(?=[{LOOSE}])", " ", words)


@pytest.mark.parametrize("language", SENTENCES)
def test_sentences_are_parted_into_words_and_joined_again(language: str) -> None:
    sentence, words = SENTENCES[language]
    parted = tokenizer_of("icu")(sentence)
    assert parted == words.split("|")
    assert join(parted, "icu") == normal_form(sentence)


@pytest.mark.parametrize("script", LETTERS)
def test_joining_gives_the_normal_form_of_whatever_was_parted(script: str) -> None:
    @given(st.text(LETTERS[script] + OTHERS))
    def holds(text: str) -> None:
        parted = tokenizer_of("icu")(text)
        joined = join(parted, "icu")
        assert joined == normal_form(text)
        assert join(tokenizer_of("icu")(joined), "icu") == joined
        assert all(word.split() == [word] for word in parted)

    holds()


@given(st.text("aBß2'-. éяδاوכहिं개İ\u200c"))
def test_scripts_with_spaces_are_parted_the_same_with_and_without_dictionaries(text: str) -> None:
    assert tokenizer_of("icu")(text) == tokenize(text)


def test_without_icu_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "icu4py.breakers", None)
    assert tokenizer_of("spaces")("a dog") == ["a", "dog"]
    with pytest.raises(DataError, match=r"expected icu4py.+pip install"):
        tokenizer_of("icu")


ENGLISH = ["A dog runs on the grass.", "Two men with a hat are at the beach."]


@pytest.mark.parametrize(
    ("captions", "expected"),
    [
        (ENGLISH, Language("en", "spaces")),
        ([], Language("en", "spaces")),
        (["a dog"], Language("en", "spaces")),
        (["a dog"] * 100, Language("und", "spaces")),
        (["Ein Hund läuft über die Wiese.", "Zwei Männer mit Hut."], Language("und", "spaces")),
        (["Een man is in de auto of op een fiets."] * 100, Language("und", "spaces")),
        (["Un chien court dans l'herbe."] * 100, Language("und", "spaces")),
        (["كلب يجري على العشب"], Language("und", "spaces")),
        (["개가 풀밭에서 뛴다"], Language("und", "spaces")),
        (["一只狗在草地上跑"], Language("und", "icu")),
        (["สุนัขวิ่งบนหญ้า"], Language("und", "icu")),
        ([*ENGLISH, "一只狗"], Language("und", "icu")),
        ([*ENGLISH * 100, "A sign says 狗."], Language("en", "spaces")),
    ],
)
def test_scripts_and_frequent_words_tell_the_language(captions: list[str], expected: Language) -> None:
    assert find_language(captions) == expected


def test_what_is_said_counts() -> None:
    assert find_language(["一只 狗"], segmentation="spaces", tag="zh-Hans") == Language("zh-Hans", "spaces")
    assert find_language(ENGLISH, tag="de").is_english is False
    assert find_language(["ein Hund"], tag="en-GB").is_english


@pytest.mark.parametrize("tag", ["", "d", "german", "de_DE", "de-", 7, None])
def test_what_is_no_tag_is_refused(tag: object) -> None:
    with pytest.raises(DataError, match="expected the tag of a language, such as de"):
        Language.of({"language": tag})


@pytest.mark.parametrize("language", [Language(), Language("de"), Language("zh", "icu"), Language("en", "icu")])
def test_an_index_gives_the_language_back(language: Language) -> None:
    assert Language.of(language.told()) == language
    assert Language().told() == {}
