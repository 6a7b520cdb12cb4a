"""Files in and out: each reader and writer refuses bad input by one sentence, and writes whole or not at all."""
