"""Captions libraries on a Ray cluster: names, photos that tasks read, captions by actors, and a folder of Parquet files."""
