"""Training of the mini: losses, stages, initialisation of the autoencoder, and model folders."""
