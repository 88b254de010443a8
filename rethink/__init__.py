"""What does a network learn when the data says nothing? Randomization tests, memorization and generalization."""
