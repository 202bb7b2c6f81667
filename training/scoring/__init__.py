"""Scores of captions and of classes."""
