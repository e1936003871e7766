"""Images and label maps: geometry, reading, writing and preprocessing."""
