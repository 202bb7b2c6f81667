"""Topics of photos, found by the words of their reference captions, for scores of each topic."""

from collections.abc import Mapping, Sequence

from model.vocabulary import tokenize

_WORDS = {
    "people": """man men woman women boy boys girl girls child children person people lady guy baby""",
    "animals": """
        dog dogs cat cats horse horses cow cows sheep bird birds zebra zebras giraffe giraffes elephant elephants bear
        bears animal animals puppy kitten duck ducks
    """,
    "food": """
        food pizza cake sandwich salad fruit vegetables banana bananas apple apples broccoli meal plate bowl bread soup
        cheese donut donuts rice meat dessert
    """,
    "vehicles": """
        car cars bus buses truck trucks train trains motorcycle motorcycles motorbike bicycle bicycles bike bikes boat
        boats airplane airplanes plane planes jet ship van
    """,
    "indoor": """
        kitchen bathroom bedroom room living sink toilet bed desk table couch sofa refrigerator stove oven counter
        office laptop computer television
    """,
    "sport": """
        baseball tennis soccer football basketball frisbee ski skis skiing skier snowboard snowboarder snowboarding
        surfboard surfer surfing skateboard skateboarder skateboarding racket bat ball player players game
    """,
}

TOPICS: Mapping[str, frozenset[str]] = {topic: frozenset(words.split()) for topic, words in _WORDS.items()}
"""Words of each topic; a photo can have several topics."""

SHARE = 0.5
"""Share of a photo's reference captions that must have a word of a topic."""


def topics_of(references: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Groups photos by what they show.

    Args:
        references: Reference captions by photo.

    Returns:
        Photos by topic, in the order of `TOPICS`; topics without a photo are left out.
    """
    found: dict[str, list[str]] = {topic: [] for topic in TOPICS}
    for name, texts in references.items():
        words = [frozenset(tokenize(text)) for text in texts]
        for topic, known in TOPICS.items():
            if sum(bool(known & said) for said in words) >= SHARE * len(words):
                found[topic].append(name)
    return {topic: names for topic, names in found.items() if names}
