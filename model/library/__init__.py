"""Captions whole photo libraries: lists, reads, captions in batches, writes where photo programs look, and resumes."""
