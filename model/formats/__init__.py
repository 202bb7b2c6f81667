"""Reads the headers of an image file before a decoder sees it: one module for each format.

A decoder trusts what it reads: metadata in a hundred thousand pieces; frames, strips and scans without end. Here they
are counted first, in plain Python, in time that grows with the file alone. What is left is the pixels and what tells
how they are stored. Of the metadata the orientation is read, and all are left out.
"""
