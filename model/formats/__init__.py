"""What a file says of its image before a decoder sees it: each module reads one format, and keeps what decoding needs.

A decoder trusts what it reads: metadata in a hundred thousand pieces; frames, strips and scans without end. Here they
are counted first, in plain Python, in time that grows with the file alone. What is left is the pixels and what tells
how they are stored. Of the metadata the orientation is read, and all are left out.
"""
