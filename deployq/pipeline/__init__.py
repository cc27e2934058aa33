"""The order of things: names -> records -> plan -> artifacts -> tags -> report.

The only part that knows every room; the rooms don't know one another.
"""
