"""Makes the C library return the memory of decoded photos to the system."""

import ctypes

_MMAP_THRESHOLD_OPTION = -3  # M_MMAP_THRESHOLD of glibc's malloc.h
_MMAP_THRESHOLD_BYTES = 1024**2


def give_back_large_blocks() -> bool:
    """Makes this process return every freed block of a mebibyte or more to the system at once.

    By default glibc raises this threshold to the size of freed blocks, up to 32 MiB. Smaller blocks are then kept for
    the thread that freed them: with many threads, gigabytes. A threshold that is set stays where it is.

    Returns:
        Whether the C library has such a threshold; others, such as musl's, keep no large blocks.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    return set_option is not None and bool(set_option(_MMAP_THRESHOLD_OPTION, _MMAP_THRESHOLD_BYTES))
