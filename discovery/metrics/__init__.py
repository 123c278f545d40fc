"""Health and figures of a database's campaigns, for machines that watch."""
