"""The Hessian of the loss: its top eigenvectors, and its trace."""
