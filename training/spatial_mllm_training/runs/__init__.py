"""What every training run shares: recipes, the run's folder, callbacks."""
