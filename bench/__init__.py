"""Measurements: programs that print a table and, as their last line, one JSON object.

The rule: a figure stands beside a peer or a limit that was measured in the same run, several times and by turns.
"""
