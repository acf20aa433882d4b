"""What is made for Open WebUI, as Open WebUI reads it."""
