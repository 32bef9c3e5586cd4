"""Puts files into Frame.io from asyncio."""

__version__ = "0.1.0.dev0"
