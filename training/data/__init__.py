"""What lies on disk, and how it becomes batches."""
