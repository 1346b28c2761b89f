"""A VGGT learns geometry from posed scenes with depth (Wang et al., CVPR 2025, section 3)."""
