"""Networks, their composition and the ICON loss."""
