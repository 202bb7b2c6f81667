"""Captions as people have them on disk: one module for each form, and what all forms share."""
