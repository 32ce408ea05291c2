"""What the Workflows product serves to the network."""
