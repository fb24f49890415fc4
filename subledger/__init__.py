"""Subledger keeps a company's customer records right about money."""

__version__ = "0.1.0"
