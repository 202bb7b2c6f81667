"""The errors of a captioner. They know no HTTP.

Every message says what was expected, what was received and what to do.
"""


class CaptionerError(Exception):
    """Base of every error that this project raises on purpose."""


class ConfigError(CaptionerError):
    """A configuration has an unknown, missing or out-of-range value."""


class VocabularyError(CaptionerError):
    """A vocabulary file is malformed, or a token id lies outside it."""


class BundleError(CaptionerError):
    """A bundle is missing, damaged, incomplete or of another format version."""


class BundleReplacedError(BundleError):
    """Another bundle lies where the one was that is loaded, and more of that would have to be read."""


class DataError(CaptionerError):
    """Training data is missing, malformed or does not fit the rest of the run."""


class LibraryError(CaptionerError):
    """A library of photos cannot be captioned as asked, or a result cannot be written."""


class SearchOptionError(CaptionerError):
    """A search option is outside its range."""


class ImageError(CaptionerError):
    """Bytes could not be turned into an image."""


class ImageTooLargeError(ImageError):
    """An image has more pixels than the limit allows."""


class UnsupportedImageError(ImageError):
    """The bytes are in none of the accepted image formats."""


class CorruptImageError(ImageError):
    """The bytes claim an accepted format but cannot be decoded."""
