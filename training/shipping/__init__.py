"""Export: from trained networks to the bundle that is served."""
