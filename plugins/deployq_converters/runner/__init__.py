"""What runs in the converter's own environment: a job as JSON in, events as JSON lines out.

Nothing of deployq is imported here but `jobside` (deployq/foreign), and nothing of this is imported
by deployq.
"""
