"""Decodes photos in separate processes, which may crash, hang or run out of memory without harm to others."""
