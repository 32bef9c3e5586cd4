"""Uploads over simulated links: a rate, a round trip and losses between two network namespaces."""
