"""How a decoder is trained: on features, by its own captions, or together with its encoder."""
