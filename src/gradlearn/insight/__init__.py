"""What a trained classifier of pictures shows of itself: how sure it may be, where it looks, what its first filters became."""
