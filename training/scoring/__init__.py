"""How good captions and classes are."""
