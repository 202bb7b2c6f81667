"""Training a decoder: on features, on its own captions, or together with its encoder."""
