"""`sambench label`: the pseudo labels of a whole task, as an MSD task that any trainer can use."""
