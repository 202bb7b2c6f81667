"""Captions libraries on a Ray cluster: tasks read photos, actors caption them, and a folder of Parquet files fills."""
