"""What this project measures about itself; ``python -m benchmarks`` runs everything."""
