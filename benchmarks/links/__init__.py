"""Uploads over links of many kinds: the number of parts in flight that adapts, compared with fixed ones and the SDK."""
