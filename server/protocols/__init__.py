"""Protocols of other servers, one module for each: parse a request, ask the one service, serialise its answer."""
