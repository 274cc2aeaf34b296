"""What computes neural networks, with TensorFlow and Keras.

The rule: `runtime.start` comes before any import of these; nothing here is imported but by an operator that runs.
"""
