"""Marks tests that decode HEIC, which needs the extra `heic`."""

import pytest

from model.formats.known import HAS_HEIC

needs_heic = pytest.mark.skipif(not HAS_HEIC, reason="expected pi-heif, which decodes HEIC; it is not installed")

HEIC = pytest.param("HEIF", marks=needs_heic)
"""Pillow's name of the format, as a parameter."""
