"""Sets which memory of decoded photos the C library returns to the system, and which it keeps for the next one."""

import ctypes

# Of glibc's malloc.h.
_TRIM_THRESHOLD_OPTION = -1
_MMAP_THRESHOLD_OPTION = -3

_LARGE_BYTES = 1024**2


def give_back_large_blocks() -> bool:
    """Makes this process return every freed block of a mebibyte or more to the system at once.

    By default glibc raises this threshold to the size of freed blocks, up to 32 MiB. Smaller blocks are then kept for
    the thread that freed them: with many threads, gigabytes. A threshold that is set stays where it is.

    Returns:
        Whether the C library has such a threshold; others, such as musl's, keep no large blocks.
    """
    return _set(_MMAP_THRESHOLD_OPTION, _LARGE_BYTES)


def keep_memory(kept_bytes: int) -> bool:
    """Makes this process keep freed memory up to a size, and return larger blocks at once; for a process of one thread.

    By default glibc returns what is free at the end of its memory beyond 128 KiB: after each photo nearly all, and the
    system has to clear every page again for the next one.

    Args:
        kept_bytes: The size, in bytes.

    Returns:
        Whether the C library has such thresholds.
    """
    return _set(_MMAP_THRESHOLD_OPTION, kept_bytes) and _set(_TRIM_THRESHOLD_OPTION, kept_bytes)


def _set(option: int, value: int) -> bool:
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    return set_option is not None and bool(set_option(option, value))
