"""Makes the C library return the memory of decoded photos."""

import ctypes

_MMAP_THRESHOLD_OPTION = -3  # M_MMAP_THRESHOLD of glibc's malloc.h
_MMAP_THRESHOLD_BYTES = 1024**2


def give_back_large_blocks() -> bool:
    """Makes this process return every freed block of a mebibyte or more to the system at once.

    glibc raises its threshold for that with the blocks it sees, up to 32 MiB, and then keeps what a large photo took
    for the thread that decoded it: with many threads, gigabytes. Setting the threshold stops it from moving.

    Returns:
        Whether the C library is one that can be told; others, such as musl's, do not keep large blocks.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    return set_option is not None and bool(set_option(_MMAP_THRESHOLD_OPTION, _MMAP_THRESHOLD_BYTES))
