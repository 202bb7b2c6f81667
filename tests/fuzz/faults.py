"""Targets with a planted fault, which the fuzzer has to find."""

import os
import time


def raises(data: bytes) -> None:
    """Raises what nobody expects."""
    if _is_reached(data):
        data[0] // 0


def takes_time(data: bytes) -> None:
    """Takes more than a second of processor time."""
    end = time.process_time() + 1.2
    while _is_reached(data) and time.process_time() < end:
        pass


def takes_memory(data: bytes) -> None:
    """Takes more memory than an image may."""
    if _is_reached(data):
        bytearray(b"\x01") * (128 * 1024**2)


def ends(data: bytes) -> None:
    """Ends the process, as a fault in a native library does."""
    if _is_reached(data):
        os.abort()


def _is_reached(data: bytes) -> bool:
    """Returns whether damage has cut off a file within its header; no file to begin with is so short."""
    return 3 < len(data) < 20
