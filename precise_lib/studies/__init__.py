"""What one page or one theme of the book needs; only notebooks and the command line import from here."""
