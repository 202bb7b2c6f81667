"""What others would use for the same networks, each as an engine that the same search drives."""
