"""The library against real S3 servers: their signature checks, not our reading of them."""
