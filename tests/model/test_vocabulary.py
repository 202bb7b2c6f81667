"""Vocabularies: words to ids and back, in memory and on disk."""

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import VocabularyError
from model.vocabulary import END_ID, PAD_ID, SPECIAL, UNKNOWN, UNKNOWN_ID, Vocabulary, tokenize

CAPTIONS = ["A dog runs.", "A dog sits on a red hat!", "The man's t-shirt", "a CAT"]
WORDS = st.lists(st.from_regex(r"[a-z]{1,6}", fullmatch=True), unique=True, max_size=20)


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary.build(CAPTIONS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A dog runs.", ["a", "dog", "runs"]),
        ("The man's T-shirt, it's RED!", ["the", "man's", "t-shirt", "it's", "red"]),
        ("the man’s hat", ["the", "man’s", "hat"]),
        ("'quoted' -dash- words", ["quoted", "dash", "words"]),
        ("two_words and\ttabs\nlines", ["two", "words", "and", "tabs", "lines"]),
        ("3 dogs", ["3", "dogs"]),
        ("Ein Hund läuft über Straßen", ["ein", "hund", "läuft", "über", "straßen"]),
        ("Собака бежит", ["собака", "бежит"]),
        ("<end> <pad>", ["end", "pad"]),
        (" ... !?", []),
        ("", []),
    ],
)
def test_a_caption_is_split_into_lower_case_words_without_punctuation(text: str, words: list[str]) -> None:
    assert tokenize(text) == words


@given(st.text())
def test_tokenizing_the_words_again_gives_the_same_words(text: str) -> None:
    words = tokenize(text)
    assert tokenize(" ".join(words)) == words
    assert not any(re.search(r"[\s_<>.,!?]", word) for word in words)


@given(st.text())
def test_no_text_holds_a_special_token(text: str) -> None:
    assert not set(tokenize(text)) & set(SPECIAL)


@given(WORDS, st.data())
def test_decoding_gives_the_encoded_words_back(words: list[str], data: st.DataObject) -> None:
    vocabulary = Vocabulary([*SPECIAL, *words])
    caption = data.draw(st.lists(st.sampled_from(words))) if words else []
    ids = vocabulary.encode(" ".join(caption))
    assert vocabulary.decode(ids) == caption
    assert ids[-1] == END_ID
    assert all(0 <= index < len(vocabulary) for index in ids)


def test_special_tokens_have_their_ids(vocabulary: Vocabulary) -> None:
    assert (PAD_ID, END_ID, UNKNOWN_ID) == (0, 1, 2)
    assert [vocabulary.words[index] for index in (PAD_ID, END_ID, UNKNOWN_ID)] == ["<pad>", "<end>", "<unk>"]


@given(st.lists(st.lists(st.sampled_from(["a", "dog", "cat", "runs", "sits"])).map(" ".join)))
def test_ids_fall_with_frequency_and_ties_are_alphabetical(captions: list[str]) -> None:
    vocabulary = Vocabulary.build(captions)
    said = " ".join(captions).split()
    keys = [(-said.count(word), word) for word in vocabulary.words[len(SPECIAL) :]]
    assert keys == sorted(keys)
    assert {word for _, word in keys} == set(said)


def test_rare_words_are_left_out_and_the_size_is_kept() -> None:
    assert Vocabulary.build(CAPTIONS, min_count=2).words == (*SPECIAL, "a", "dog")
    assert Vocabulary.build(CAPTIONS, max_size=4).words == (*SPECIAL, "a")
    assert len(Vocabulary.build(CAPTIONS)) == len(SPECIAL) + 11


def test_an_unknown_word_becomes_the_unknown_id(vocabulary: Vocabulary) -> None:
    ids = vocabulary.encode("a zebra runs")
    assert [index == UNKNOWN_ID for index in ids] == [False, True, False, False]
    assert vocabulary.decode(ids) == ["a", UNKNOWN, "runs"]


def test_a_caption_is_cut_in_front_of_its_end(vocabulary: Vocabulary) -> None:
    assert vocabulary.encode("a dog sits on a hat", max_words=2) == [*vocabulary.encode("a dog")[:2], END_ID]
    assert vocabulary.encode("a dog", max_words=0) == [END_ID]


def test_decoding_stops_at_the_end_and_skips_padding(vocabulary: Vocabulary) -> None:
    a, dog, end = vocabulary.encode("a dog")
    assert vocabulary.decode([PAD_ID, a, PAD_ID, dog, end, a, a]) == ["a", "dog"]
    assert vocabulary.decode([]) == []


@pytest.mark.parametrize("index", [-1, 14, 10**9])
def test_an_id_outside_the_vocabulary_is_named(vocabulary: Vocabulary, index: int) -> None:
    with pytest.raises(VocabularyError, match=rf"\[0, 14\), received {index}$"):
        vocabulary.decode([index])


@given(WORDS)
def test_equality_is_equality_of_words(words: list[str]) -> None:
    one = Vocabulary([*SPECIAL, *words])
    same = Vocabulary([*SPECIAL, *words])
    assert one == same
    assert hash(one) == hash(same)
    assert one != Vocabulary([*SPECIAL, *words, "another-word"])
    assert one != one.words


def test_a_file_gives_the_same_vocabulary_back(tmp_path: Path) -> None:
    vocabulary = Vocabulary.build([*CAPTIONS, "läuft über 草地", "the man’s"])
    path = tmp_path / "vocabulary.txt"
    vocabulary.save(path)
    assert Vocabulary.load(path) == vocabulary
    lines = path.read_text(encoding="utf-8").splitlines()
    assert all(vocabulary.encode(word) == [index, END_ID] for index, word in enumerate(lines[3:], 3))


@pytest.mark.parametrize("word", ["", " ", " b", "b ", "b\nc", "b\rc", "b c", "a", "<end>"])
def test_a_word_that_a_file_could_not_hold_or_holds_already_is_refused(word: str) -> None:
    with pytest.raises(VocabularyError, match=re.escape(repr(word))):
        Vocabulary([*SPECIAL, "a", word])


@pytest.mark.parametrize("words", [(), ("a", "dog"), ("<end>", "<pad>", "<unk>", "a"), ("<pad>", "<end>")])
def test_special_tokens_out_of_place_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(VocabularyError, match="expected the first tokens to be"):
        Vocabulary(words)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a\ndog\n",
        b"<pad>\n<end>\n<unk>\na\n\ndog\n",
        b"<pad>\n<end>\n<unk>\na\na\n",
        b"<pad>\n<end>\n<unk>\n\xff\xfe\n",
        b"\x00\x01\x02",
    ],
)
def test_a_file_that_is_no_vocabulary_is_a_vocabulary_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "vocabulary.txt"
    path.write_bytes(content)
    with pytest.raises(VocabularyError, match="expected"):
        Vocabulary.load(path)


def test_a_missing_file_is_a_vocabulary_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(VocabularyError, match=r"words\.txt: expected a vocabulary"):
        Vocabulary.load(tmp_path / "words.txt")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("कुत्ता दौड़ रहा है", ["कुत्ता", "दौड़", "रहा", "है"]),
        ("cafe\u0301 -- olé!", ["café", "olé"]),
        ("Der Hund läuft über die Straße.", ["der", "hund", "läuft", "über", "die", "straße"]),
        ("GROẞ wie die STRASSE", ["groß", "wie", "die", "strasse"]),
        ("Un chien devant l'église, aujourd’hui", ["un", "chien", "devant", "l'église", "aujourd’hui"]),
        ("una col·lecció", ["una", "col·lecció"]),
        ("İki köpek IŞIK", ["iki", "köpek", "işik"]),
        ("Ο ΣΚΎΛΟΣ", ["ο", "σκύλος"]),
        ("كَلْبٌ يجري، على العشب؟", ["كَلْبٌ", "يجري", "على", "العشب"]),
        ("ﻛﻠﺐ", ["كلب"]),
        ("سگ می\u200cدود", ["سگ", "می\u200cدود"]),
        ("سگ می\u200c\u200cدود\u200c", ["سگ", "می\u200cدود"]),
        ("כלב של צה״ל", ["כלב", "של", "צה״ל"]),
        ("\u200fכלב\u200f רץ", ["כלב", "רץ"]),
        ("ශ්\u200dරී", ["ශ්\u200dරී"]),
        ("ক্ষেত র\u200d্যাব", ["ক্ষেত", "র\u200d্যাব"]),
        ("개가 뛴다.", ["개가", "뛴다"]),
        ("\u1100\u1162", ["개"]),
        ("Ｔシャツ、ｶﾞﾗｽ", ["tシャツ", "ガラス"]),
        ("น้ำ", ["น้ำ"]),
        ("Do\u00adnau \ufeffﬁsh", ["donau", "fish"]),
        ("I ❤️ 👨‍👩‍👧 dogs 👍🏽", ["i", "dogs"]),
        ("① dog", ["①", "dog"]),
    ],
)
def test_words_of_other_languages_stay_whole(text: str, words: list[str]) -> None:
    assert tokenize(text) == [unicodedata.normalize("NFC", word) for word in words]


@given(st.text("i̇İIıſßẞΣσς'’·׳״-\u200c\u200d\u0301\u0307\u0327\u0345ﬁﾞカكـ ﷺ☃️"))
def test_no_word_begins_with_a_mark_or_ends_with_a_joiner(text: str) -> None:
    words = tokenize(text)
    assert tokenize(" ".join(words)) == words
    for word in words:
        assert unicodedata.category(word[0])[0] in "LN"
        assert word[-1] not in "'’·׳״-\u200c"
        assert unicodedata.is_normalized("NFC", word)


def test_a_vocabulary_counts_and_encodes_the_words_of_its_tokenizer() -> None:
    letters = Vocabulary.build(["狗狗", "狗"], min_count=2, tokenizer=list)
    assert letters.words == (*SPECIAL, "狗")
    assert letters.encode("狗狗狗", max_words=2, tokenizer=list) == [3, 3, END_ID]
