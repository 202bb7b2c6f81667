"""Other runtimes for the same model, each as an engine that the same search drives."""
