"""Who is asking, what they may do, and how much: pure decisions, asked from one place each."""
