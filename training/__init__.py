"""The training of a captioner, from photos on disk to the bundle that is served."""
