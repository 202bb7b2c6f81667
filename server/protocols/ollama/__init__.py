"""Ollama's generate and chat."""
