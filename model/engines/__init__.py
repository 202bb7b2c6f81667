"""Engines run a captioner's encoder and decoder: one protocol, and one module for each engine."""
