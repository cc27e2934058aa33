"""What runs in the converter's own environment: a job as JSON in, events as JSON lines out.

Nothing of deployq is imported here, and nothing of this is imported by deployq. Each event line
starts with the character "record separator" (RFC 7464), so that what libraries print in between
does no harm.
"""
