"""MSD folders, volumes, slices, intensity windows and the phantom."""
