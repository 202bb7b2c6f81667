"""The commands of `showtell-train`, one file a stage."""
