"""The options of one caption search: what a caller may ask for, and the search that follows from it."""

import dataclasses
import secrets
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, cast

from model.config import MAX_BEAM_SIZE, MAX_WORDS, SearchConfig
from model.errors import SearchOptionError

MAX_SEED = 2**32 - 1
MIN_TEMPERATURE = 0.01
MAX_TEMPERATURE = 10
MAX_DIVERSITY = 10

DIVERSITY = 0.5
"""Default of `diversity`: in the middle of the 0.2 to 0.8 that Vijayakumar et al. found to serve all their tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search(SearchConfig):
    """One search: a bundle's defaults, and what one caller asks for. By itself it is a plain beam search.

    Attributes:
        min_words: Fewest words in a caption. It ends earlier where an engine's best words are none but the end.
        groups: Groups of hypotheses, each of `beam_size`, that avoid each other's words.
        diversity: What a hypothesis loses for each hypothesis of an earlier group that says the same word at the same
            place, in nats.
        temperature: If given, each hypothesis draws its words instead of competing; log-probabilities are divided by
            it. Groups are of one hypothesis then.
        seed: Of the draws. The same seed draws the same, whatever else is in the batch and whichever engine runs.
    """

    min_words: int = 0
    groups: int = 1
    diversity: float = 0.0
    temperature: float | None = None
    seed: int = 0

    @classmethod
    def of(cls, defaults: SearchConfig) -> "Search":
        """Returns the search that a bundle's defaults mean."""
        return defaults if isinstance(defaults, cls) else cls(**asdict(defaults))

    @property
    def hypotheses(self) -> int:
        """Returns the hypotheses of all groups for each image: the most captions that can be found."""
        return self.beam_size * self.groups


class Option(NamedTuple):
    """What an option may be.

    Attributes:
        kind: Its type: `int`, `float`, `bool`, or `str` for one of `choices`.
        low: Least number.
        high: Largest number.
        about: What it is, for help texts and the description of the API.
        choices: Texts that are possible, in order.
    """

    kind: type
    low: float
    high: float
    about: str
    choices: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        """Returns what is expected, in words."""
        if self.kind is bool:
            return "true or false"
        if self.kind is str:
            return f"{', '.join(self.choices[:-1])} or {self.choices[-1]}"
        return f"{'a whole number' if self.kind is int else 'a number'} from {self.low:g} to {self.high:.10g}"


def _option(kind: type, low: float, high: float, about: str) -> Any:
    return dataclasses.field(default=None, metadata={"option": Option(kind, low, high, about)})


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """The options of a search that a caller may give; None where it gives none, which is the default of all."""

    beam_size: int | None = _option(
        int, 1, MAX_BEAM_SIZE,
        "Hypotheses that the search keeps at each word: more find better captions and take longer. "
        "Default: the model's own, or fewer where groups need room.",
    )  # fmt: skip
    min_words: int | None = _option(int, 0, MAX_WORDS, "Fewest words in a caption; at most `max_words`. Default: 0.")
    max_words: int | None = _option(
        int, 1, MAX_WORDS, "Most words in a caption; at most the model's own, which is the default."
    )
    no_repeat_ngram: int | None = _option(
        int, 0, MAX_WORDS, "A caption says no sequence of so many words twice; 0 allows all. Default: the model's own."
    )
    diverse_groups: int | None = _option(
        int, 1, MAX_BEAM_SIZE,
        "Groups of `beam_size` hypotheses each that avoid each other's words, so that captions differ; both multiplied "
        f"are at most {MAX_BEAM_SIZE}. The best caption of each group comes first. Default: 1.",
    )  # fmt: skip
    diversity: float | None = _option(
        float, 0, MAX_DIVERSITY,
        "How much a group avoids the words of those before it, in nats for each time that one is said; with "
        f"`diverse_groups`. Default: {DIVERSITY}.",
    )  # fmt: skip
    sample: bool | None = _option(
        bool, 0, 1, "Draws each caption at random, word by word from the ten best, instead of searching for the best."
    )
    temperature: float | None = _option(
        float, MIN_TEMPERATURE, MAX_TEMPERATURE,
        "With `sample`: below 1 likely words are drawn more often, above 1 less often. Default: 1.",
    )  # fmt: skip
    seed: int | None = _option(
        int, 0, MAX_SEED, "With `sample`: the same seed draws the same captions. Default: another one every time."
    )

    def most_captions(self, defaults: SearchConfig) -> int:
        """Returns the most captions that can be asked for.

        Args:
            defaults: The bundle's.

        Raises:
            SearchOptionError: An option is out of its range, or does not fit the others.
        """
        self._check_ranges()
        self._check_together(defaults)
        if self.sample:
            return MAX_BEAM_SIZE
        return self._beam_size(defaults) * (self.diverse_groups or 1)

    def search(self, defaults: SearchConfig, captions: int = 1) -> Search:
        """Returns the search that these options mean for a bundle.

        Args:
            defaults: The bundle's.
            captions: Captions that are wanted for each image; as many are drawn with `sample`.

        Raises:
            SearchOptionError: An option is out of its range, or does not fit the others.
        """
        most = self.most_captions(defaults)
        if not 1 <= captions <= most:
            raise SearchOptionError(f"captions: expected 1 to {most}, received {captions}")
        own = Search.of(defaults)
        kept = {name: getattr(self, name) for name in ("min_words", "max_words", "no_repeat_ngram")}
        own = dataclasses.replace(own, **{name: value for name, value in kept.items() if value is not None})
        if self.sample:
            temperature = 1.0 if self.temperature is None else self.temperature
            seed = secrets.randbelow(MAX_SEED + 1) if self.seed is None else self.seed
            return dataclasses.replace(own, beam_size=1, groups=captions, temperature=temperature, seed=seed)
        groups = self.diverse_groups or 1
        diversity = DIVERSITY if self.diversity is None else self.diversity
        return dataclasses.replace(
            own, beam_size=self._beam_size(defaults), groups=groups, diversity=diversity if groups > 1 else 0.0
        )

    def wide_enough(self, defaults: SearchConfig, captions: int) -> Search:
        """Returns the search of `search`, with a beam for so many captions unless one is asked for."""
        if self.sample or self.beam_size is not None:
            return self.search(defaults, captions)
        groups = self.diverse_groups or 1
        beam_size = max(self._beam_size(defaults), -(-captions // groups))
        return dataclasses.replace(self, beam_size=beam_size).search(defaults, captions)

    def _beam_size(self, defaults: SearchConfig) -> int:
        if self.beam_size is not None:
            return self.beam_size
        return min(defaults.beam_size, MAX_BEAM_SIZE // (self.diverse_groups or 1))

    def _check_ranges(self) -> None:
        for name, option in OPTIONS.items():
            value = getattr(self, name)
            if value is not None and not option.low <= value <= option.high:
                raise SearchOptionError(f"{name}: expected {option.expected}, received {value}")

    def _check_together(self, defaults: SearchConfig) -> None:
        most = defaults.max_words if self.max_words is None else self.max_words
        groups = self.diverse_groups or 1
        room = MAX_BEAM_SIZE // groups
        for name, fits, expected in (
            ("max_words", most <= defaults.max_words, f"at most {defaults.max_words}, the model's own"),
            ("min_words", (self.min_words or 0) <= most, f"at most {most}, the most words"),
            ("temperature", self.sample, "sample with it; without sample nothing is drawn"),
            ("seed", self.sample, "sample with it; without sample nothing is drawn"),
            ("beam_size", not self.sample, "none with sample, which draws as many captions as are asked for"),
            ("diverse_groups", not self.sample or groups == 1, "none with sample, whose captions differ by chance"),
            ("beam_size", (self.beam_size or 1) <= room, f"at most {room} with {groups} diverse_groups"),
            ("diversity", groups > 1, "diverse_groups of 2 or more with it"),
        ):
            if getattr(self, name) is not None and not fits:
                raise SearchOptionError(f"{name}: expected {expected}, received {getattr(self, name)}")


OPTIONS: Mapping[str, Option] = types.MappingProxyType(
    {item.name: cast(Option, item.metadata["option"]) for item in dataclasses.fields(SearchOptions)}
)
"""What each option of `SearchOptions` may be, by its name."""
