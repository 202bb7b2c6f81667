"""The checks of `showtell-train doctor`: why captions are all alike."""
