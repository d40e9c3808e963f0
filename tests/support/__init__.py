"""What several tests build: images, models and artifacts."""
