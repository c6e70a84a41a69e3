"""Other packages' calls over this package's networks, losses and samplers: translation alone."""
