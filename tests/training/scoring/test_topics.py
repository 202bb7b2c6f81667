"""Topics of photos, by the words of their captions."""

from training.scoring.topics import topics_of


def test_a_photo_is_of_the_topics_that_half_of_its_captions_name() -> None:
    references = {
        "a": ["A dog catches a frisbee.", "The dog runs", "a Dog with a man", "grass"],
        "b": ["A man eats pizza", "pizza", "food on a table", "A man at a table"],
        "c": ["clouds", "the sky"],
        "d": ["a manhole", "a doghouse, a carton"],
    }
    assert topics_of(references) == {"people": ["b"], "animals": ["a"], "food": ["b"], "indoor": ["b"]}
