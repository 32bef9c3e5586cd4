"""Draw the timeline of uploads."""
