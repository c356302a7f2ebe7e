"""Training sets that never change, and models that can be made again from them."""
