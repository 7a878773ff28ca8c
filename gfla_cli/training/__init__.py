"""Training: a recipe, the objective it minimises, the loop that runs it, and what it leaves on disk."""
