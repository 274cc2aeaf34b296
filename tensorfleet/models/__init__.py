"""Models: their fitted state as plain data, their metrics, and how they become a scikit-learn Pipeline again."""
