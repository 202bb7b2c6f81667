"""Small programs that show one part of training by itself."""
