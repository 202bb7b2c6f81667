"""Data sets: from photos on disk to batches."""
