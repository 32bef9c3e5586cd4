"""The asyncio orchestration of uploads: what happens in which order."""
