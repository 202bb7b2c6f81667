"""Writes descriptions into image files, one module for each format; what tells pixels stays as it is, bit for bit."""
