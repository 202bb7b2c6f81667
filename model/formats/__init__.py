"""Reads the headers of an image file before a decoder sees it: one module for each format.

A decoder trusts what it reads, even metadata in a hundred thousand pieces, or frames, strips and scans without end.
Here these are counted first, in plain Python, in time that grows with the file's size alone. The decoder then gets a
file without metadata: the pixels, and the entries that tell how they are stored. The orientation is read before.
"""
