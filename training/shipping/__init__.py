"""From trained networks to the bundle that is served."""
