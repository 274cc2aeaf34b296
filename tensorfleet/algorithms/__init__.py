"""Algorithms, one file a family: its parameters, how it spreads over workers, and the operators that compute it.

The rule: importing a family costs nothing; NumPy and scikit-learn are imported by the operators, when they run.
"""
