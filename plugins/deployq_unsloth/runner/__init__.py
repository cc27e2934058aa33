"""What runs in the user's own Unsloth environment: a job as JSON in, events as JSON lines out.

Nothing of deployq is imported here but `jobside` (deployq/foreign), and nothing of this is imported
by deployq. Unsloth patches what it finds: it is imported first, and only where a job needs it.
"""
