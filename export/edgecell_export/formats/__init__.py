"""One format a file: a prepared chain and a recipe in, a model file out."""
