"""Engines: what runs a captioner's networks. One protocol, one module for each engine."""
