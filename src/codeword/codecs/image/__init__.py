"""Images of any size to ``.cw`` files and back, through a convolutional autoencoder around any quantizer."""
