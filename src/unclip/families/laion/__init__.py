"""The models of DALLE2-pytorch, LAION's among them."""
