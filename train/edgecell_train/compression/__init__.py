"""Making a trained net small: channels are pruned, dense layers are split, fine-tuning follows."""
