"""WM, second place of the DFDC (cuihaoleo/kaggle-dfdc), as a detector."""
