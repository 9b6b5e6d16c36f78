"""The two measured stages and the training between them: each a pipeline over runners, one code for every backend."""
