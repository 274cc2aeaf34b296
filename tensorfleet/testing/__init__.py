"""What tests are made of, shipped so that a backend or a plugin of yours can be tried with it too.

The rule: pytest is imported here and nowhere else in the package.
"""
