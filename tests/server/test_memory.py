"""Large blocks go back to the system once they are free, whichever thread asked; a decoder keeps what is small."""

import resource
import subprocess
import sys

import pytest

# In a process of its own: the setting is for good. Each thread frees blocks of 20 MB below one that it keeps.
PROGRAM = """
import ctypes, re, sys, threading
from pathlib import Path
from server.memory import give_back_large_blocks

if sys.argv[1] == "told":
    assert give_back_large_blocks()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
free_first = libc.malloc(30_000_000)
libc.free(free_first)  # raises glibc's own threshold above 20 MB

def work():
    blocks = [libc.malloc(20_000_000) for _ in range(5)]
    for block in blocks:
        ctypes.memset(block, 1, 20_000_000)
    libc.malloc(100)
    for block in blocks:
        libc.free(block)

for _ in range(4):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
print(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def resident_kib(told: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, told], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="expected /proc and glibc, found another system")
def test_freed_blocks_are_no_longer_resident() -> None:
    assert resident_kib("told") < 60_000
    assert resident_kib("not told") > resident_kib("told") + 50_000


# A photo of 500x375 in Pillow's memory, 750 kB, in front of nothing else.
KEEPING = """
import ctypes, resource, sys
from server.memory import give_back_large_blocks, keep_memory

assert keep_memory(8 * 1024**2) if sys.argv[1] == "told" else give_back_large_blocks()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
held = [libc.malloc(60_000) for _ in range(40)]  # what earlier blocks have left free is taken

def photo(size):
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    libc.free(block)

photo(750_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    photo(750_000)
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
photo(50_000_000)
print(faults, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, open("/proc/self/statm").read().split()[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="expected /proc and glibc, found another system")
def test_a_decoder_keeps_the_pages_of_small_photos_and_gives_back_those_of_large_ones() -> None:
    found = {
        told: [int(value) for value in done.stdout.split()]
        for told in ("told", "not told")
        if (done := subprocess.run([sys.executable, "-c", KEEPING, told], capture_output=True, text=True, check=True))
    }
    faults, peak_kib, pages = found["told"]
    assert faults < 100 <= 10_000 < found["not told"][0]
    assert pages * resource.getpagesize() // 1024 < peak_kib - 40_000
